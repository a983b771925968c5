import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import { DeployError, ERROR_CODES, type ErrorCode } from '../errors.ts';
import { connectClient, type TandemClient } from '../client.ts';
import type { Outcome } from '../../workflows/messages.ts';

/** Exit codes, DESIGN §7. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  stuck: 3,
  unreachable: 4,
  changes: 5,
  detached: 6,
  cancelled: 130,
} as const;

export const exitOf: Record<Exclude<Outcome, 'running'>, number> = {
  succeeded: EXIT.done,
  unchanged: EXIT.done,
  skipped: EXIT.done,
  'rolled-back': EXIT.failed,
  superseded: EXIT.failed,
  frozen: EXIT.failed,
  stuck: EXIT.stuck,
  cancelled: EXIT.cancelled,
};

const EXIT_OF_CODE: Partial<Record<ErrorCode, number>> = {
  SPEC_INVALID: EXIT.usage,
  USAGE: EXIT.usage,
  TEMPORAL_UNREACHABLE: EXIT.unreachable,
  NO_WORKER: EXIT.unreachable,
  UNDO_FAILED: EXIT.stuck,
};

/** Adds what every verb has: --json. */
export const jsonOption = (command: Command): Command =>
  command.option('--json', 'print one JSON document on stdout; progress goes to stderr');

/** Whether this process has printed its JSON document: there is exactly one. */
let printed = false;

/** One JSON document, or text for people. */
export function print(value: unknown, text: () => string, json: boolean | undefined): void {
  printed = true;
  process.stdout.write(json ? `${JSON.stringify(value, null, 2)}\n` : ensureLine(text()));
}

export const note = (text: string): void => void process.stderr.write(ensureLine(text));

const ensureLine = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`);

/** Says what went wrong, as text on stderr or as JSON on stdout, and sets the exit code. */
export function report(error: unknown, json: boolean | undefined): void {
  const { code, message, remedy, host, evidence } = asDeployError(error);
  process.exitCode = EXIT_OF_CODE[code] ?? EXIT.failed;
  if (json && !printed) {
    process.stdout.write(
      `${JSON.stringify({ error: { code, message, remedy, ...(host ? { host } : {}), ...(evidence ? { evidence } : {}) } }, null, 2)}\n`,
    );
    return;
  }
  note(`${code}: ${message}`);
  if (evidence) note(indent(evidence));
  if (remedy) note(`  remedy: ${remedy}`);
}

function asDeployError(error: unknown): DeployError {
  if (error instanceof DeployError) return error;
  return new DeployError({
    code: 'INTERNAL',
    message: withCauses(error),
    remedy: `This is a fault in Tandem (${ERROR_CODES.INTERNAL}) Please report it with this message.`,
    retryable: false,
    cause: error,
  });
}

/** A client of Temporal says only what it tried; its cause, why it failed. */
export const withCauses = (error: unknown): string =>
  error instanceof Error
    ? [error.message, ...(error.cause === undefined ? [] : [withCauses(error.cause)])].join(': ')
    : String(error);

export const indent = (text: string): string => text.replace(/^/gm, '  ');

/** Runs a verb's body with a client and ends the connection; errors are reported. */
export async function withClient(
  json: boolean | undefined,
  body: (client: TandemClient) => Promise<void>,
  identity?: string,
): Promise<void> {
  await reporting(json, async () => {
    const client = await connectClient(undefined, identity);
    try {
      await body(client);
    } finally {
      await client.close();
    }
  });
}

export async function reporting(json: boolean | undefined, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    report(error, json);
  }
}

/** Who asks: --actor, else TANDEM_ACTOR, else user@machine. Self-asserted. */
export const actorOf = (actor: string | undefined): string =>
  actor ?? process.env['TANDEM_ACTOR'] ?? `${userName()}@${hostname()}`;

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown'); // A container may run as a user without an entry.
  }
}
