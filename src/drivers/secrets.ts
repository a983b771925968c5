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

/** `text` without the secrets, also as JSON, URL or base64 spell them. */
export function redact(text: string, secrets: readonly string[]): string {
  const spellings = secrets
    .filter(({ length }) => length >= SHORTEST)
    .flatMap((secret) => [
      secret,
      JSON.stringify(secret).slice(1, -1),
      encodeURIComponent(secret),
      Buffer.from(secret).toString('base64'),
    ]);
  // Longest first, so that one that holds another goes whole.
  return [...new Set(spellings)]
    .toSorted((a, b) => b.length - a.length)
    .reduce((rest, spelling) => rest.replaceAll(spelling, '[redacted]'), text);
}

const missing = (message: string, remedy: string) =>
  new DeployError({ code: 'SECRET_MISSING', message, remedy, retryable: false });
