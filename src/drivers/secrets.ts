import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { DeployError } from '../errors.ts';
import type { SecretRef } from '../spec/schema.ts';
import { localPath } from './ssh/config.ts';

/** Shorter values would be found in ordinary words. */
const SHORTEST = 4;

/** The value of a secret on this machine; a file's last line break is not part of it. Errors: SECRET_MISSING. */
export async function secretValue(ref: SecretRef): Promise<string> {
  if ('fromEnv' in ref) {
    const value = process.env[ref.fromEnv];
    if (value) return value;
    const state = value === undefined ? 'is not set' : 'is empty';
    throw missing(
      `The environment variable ${ref.fromEnv} ${state} on the Temporal worker ${hostname()}`,
      `Set ${ref.fromEnv} in the environment of the Temporal worker on ${hostname()} and start it again.`,
    );
  }
  const path = localPath(ref.fromFile);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw missing(
      `The file ${path} cannot be read on the Temporal worker ${hostname()}: ${error.code}`,
      `Put the secret into ${path} on ${hostname()}, readable by the Temporal worker only.`,
    );
  });
  const value = text.replace(/\r?\n$/, '');
  if (value) return value;
  throw missing(
    `The file ${path} is empty on the Temporal worker ${hostname()}`,
    `Put the secret into ${path} on ${hostname()}, readable by the Temporal worker only.`,
  );
}

/** Shortest piece of a secret that is looked for at an end of a text, and shortest line of one with several lines. */
const SHORTEST_PIECE = 6;

/**
 * `text` without the secrets, also as JSON, Python, URLs or base64 spell them, a line of one that has several, and a piece
 * of one at an end of the text, where a limit may have cut it.
 */
export function redact(text: string, secrets: readonly string[]): string {
  // Longest first, so that one that holds another goes whole.
  const spellings = [...new Set(secrets.filter(({ length }) => length >= SHORTEST).flatMap(spelled))].toSorted(
    (a, b) => b.length - a.length,
  );
  const rest = spellings.reduce((before, spelling) => before.replaceAll(spelling, REDACTED), text);
  const [begin, end] = [pieceAtStart(rest, spellings), pieceAtEnd(rest, spellings)];
  if (begin + end === 0) return rest;
  return `${begin > 0 ? REDACTED : ''}${rest.slice(begin, rest.length - end)}${end > 0 ? REDACTED : ''}`;
}

const REDACTED = '[redacted]';

function spelled(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const url = encodeURIComponent(secret);
  const lines = secret.split(/\r?\n/).filter(({ length }, _, all) => all.length > 1 && length >= SHORTEST_PIECE);
  return [
    secret,
    ...lines,
    json,
    JSON.stringify(json).slice(1, -1), // In a document that is quoted in another.
    secret.replaceAll(/[\\']/g, String.raw`\$&`).replaceAll('\n', String.raw`\n`),
    url,
    url.replaceAll(/%[0-9A-F]{2}/g, (one) => one.toLowerCase()),
    new URLSearchParams({ a: secret }).toString().slice('a='.length),
    ...inBase64(secret),
  ];
}

/** As base64 alone, and within that of a longer text, where only what neighbours do not change is looked for. */
function inBase64(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const within = [0, 1, 2].flatMap((shift) => {
    const whole = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/={1,2}$/, '');
    const own = whole.slice(shift === 0 ? 0 : shift + 1, (shift + bytes.length) % 3 === 0 ? undefined : -1);
    return own.length >= SHORTEST_PIECE ? [own] : [];
  });
  return [bytes.toString('base64'), ...within].flatMap((one) => [
    one,
    one
      .replaceAll('+', '-')
      .replaceAll('/', '_')
      .replace(/={1,2}$/, ''),
  ]);
}

/** Length of the longest end of a secret with which the text starts. */
const pieceAtStart = (text: string, spellings: readonly string[]): number =>
  longest(spellings, (spelling, length) => text.startsWith(spelling.slice(-length)));

/** Length of the longest beginning of a secret with which the text ends. */
const pieceAtEnd = (text: string, spellings: readonly string[]): number =>
  longest(spellings, (spelling, length) => text.endsWith(spelling.slice(0, length)));

function longest(spellings: readonly string[], isThere: (spelling: string, length: number) => boolean): number {
  let found = SHORTEST_PIECE - 1;
  for (const spelling of spellings) {
    for (let length = spelling.length - 1; length > found; length -= 1) if (isThere(spelling, length)) found = length;
  }
  return found < SHORTEST_PIECE ? 0 : found;
}

const missing = (message: string, remedy: string) =>
  new DeployError({ code: 'SECRET_MISSING', message, remedy, retryable: false });
