import { hostname, userInfo } from 'node:os';
import type { Command } from 'commander';
import { DeployError, ERROR_CODES, type ErrorCode } from '../errors.ts';
import { connectClient, type TandemClient } from '../client.ts';
import type { Outcome } from '../operations/outcomes.ts';
import { requestProblem, type RequestTexts } from '../text/limits.ts';
import { visible, visibleJson } from '../text/visible.ts';

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
  refused: EXIT.failed,
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
  TEMPORAL_REFUSED: EXIT.unreachable,
  NAMESPACE_UNKNOWN: EXIT.unreachable,
  NO_WORKER: EXIT.unreachable,
  BLOCKED: EXIT.unreachable,
  UNDO_FAILED: EXIT.stuck,
};

/** Adds what every verb has: --json. */
export const jsonOption = (command: Command): Command =>
  command.option('--json', 'print one JSON document on stdout; progress goes to stderr');

/** Whether this process has printed its JSON document: there is exactly one. */
let printed = false;

/** One JSON document, or text for people. What would act on a terminal is shown instead, whoever wrote it. */
export function print(value: unknown, text: () => string, json: boolean | undefined): void {
  printed = true;
  process.stdout.write(json ? `${visibleJson(value)}\n` : ensureLine(visible(text())));
}

/** As `print`, the document on one line. */
export function printLine(value: unknown, text: () => string, json: boolean | undefined): void {
  process.stdout.write(json ? `${visibleJson(value, 0)}\n` : ensureLine(visible(text())));
}

export const note = (text: string): void => void process.stderr.write(ensureLine(visible(text)));

const ensureLine = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`);

/** Says what went wrong, as text on stderr or as JSON on stdout, and sets the exit code. */
export function report(error: unknown, json: boolean | undefined): void {
  const { code, message, remedy, host, evidence } = asDeployError(error);
  process.exitCode = EXIT_OF_CODE[code] ?? EXIT.failed;
  if (json && !printed) {
    const told = { code, message, remedy, ...(host ? { host } : {}), ...(evidence ? { evidence } : {}) };
    print({ error: told }, () => '', true);
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

/** Runs a verb's body with a client; errors are reported. */
export async function withClient(
  json: boolean | undefined,
  body: (client: TandemClient) => Promise<void>,
  identity?: string,
): Promise<void> {
  await reporting(json, async () => {
    await body(await connectClient(undefined, identity));
  });
}

export async function reporting(json: boolean | undefined, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    report(error, json);
  }
}

/** Who asks: --actor, else TANDEM_ACTOR, else user@machine. Self-asserted. Errors: USAGE for what is no name that Temporal takes. */
export function actorOf(given: string | undefined): string {
  const ofEnv = process.env['TANDEM_ACTOR'] || undefined;
  const actor = given ?? ofEnv ?? `${userName()}@${hostname()}`;
  needFitting({ actor }, given !== undefined ? '--actor' : ofEnv !== undefined ? 'TANDEM_ACTOR' : 'user@machine');
  return actor;
}

/** Before anything is contacted: what a request says fits Temporal's database. Errors: USAGE, measured and wanted. */
export function needFitting(texts: RequestTexts, called?: string): void {
  const found = requestProblem(texts);
  if (!found) return;
  const { field, problem } = found;
  throw new DeployError({
    code: 'USAGE',
    message: `${called ?? NAMES[field] ?? field} ${problem}`,
    remedy: REMEDIES[field] ?? 'Give a shorter one.',
    retryable: false,
  });
}

/** What the texts of a request are called on the command line. */
const NAMES: Readonly<Record<string, string>> = { reason: '--reason', specPath: 'the path of the spec' };
const REMEDIES: Readonly<Record<string, string>> = {
  actor: 'Give a shorter name in plain text by --actor or TANDEM_ACTOR.',
  reason: 'Say it shorter, or name the ticket that says it.',
  specPath: 'Change into a folder nearer to it, and give its relative path.',
};

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown'); // A container may run as a user without an entry.
  }
}
