import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { patient } from '../support/patience.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
export const BUILD_TIMEOUT_MS = patient(300_000);

/** A service of docker-compose.yml. */
export interface Service {
  readonly image?: string;
  readonly command?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly { readonly host_ip?: string; readonly published?: string }[];
  readonly volumes?: readonly { readonly type: string; readonly source: string; readonly target: string }[];
  readonly depends_on?: Record<string, unknown>;
  readonly healthcheck?: unknown;
}

/** The services of docker-compose.yml by Compose's own loader, which needs Go. Errors: what it says to the environment. */
export async function loadCompose(env: Readonly<Record<string, string>>): Promise<Record<string, Service>> {
  const options = { env: { HOME: '/home/ops', ...env } };
  const { stdout } = await run(await loader(), [join(ROOT, 'docker-compose.yml')], options);
  return (JSON.parse(stdout) as { services: Record<string, Service> }).services;
}

/** The loader, built once per version of its sources. */
async function loader(): Promise<string> {
  const sources = await Promise.all(
    ['main.go', 'go.mod', 'go.sum'].map((name) => readFile(join(import.meta.dirname, name))),
  );
  const digest = createHash('sha256').update(Buffer.concat(sources)).digest('hex').slice(0, 16);
  const program = join(ROOT, 'node_modules', '.cache', 'tandem', `compose-loader-${digest}`);
  if (!existsSync(program)) {
    await mkdir(join(program, '..'), { recursive: true });
    await run('go', ['build', '-o', program, '.'], { cwd: import.meta.dirname, timeout: BUILD_TIMEOUT_MS });
  }
  return program;
}
