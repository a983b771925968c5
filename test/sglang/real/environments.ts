import { join } from 'node:path';

/** SGLang on CPU, as scripts/sglang/environment.sh installs it. */
export interface Environment {
  readonly version: string;
  readonly folder: string;
  /** What its engines have on PYTHONPATH, below the project: a file that lets them run without a GPU. */
  readonly without: string;
  readonly env: Readonly<Record<string, string>>;
}

/** The versions whose engines are run. */
export const VERSIONS = ['0.5.10.post1', '0.5.23'] as const;

/** `npm run test:sglang` says which are there, as "VERSION=FOLDER VERSION=FOLDER"; elsewhere there is none. */
const folders = new Map(
  (process.env['TANDEM_SGLANG_ENV'] ?? '')
    .split(' ')
    .filter((row) => row !== '')
    .map((row) => row.split('=') as [string, string]),
);

/** The environment of a version, and undefined where it is not installed: its suites are skipped then, and say so. */
export function environmentOf(version: string): Environment | undefined {
  const folder = folders.get(version);
  if (folder === undefined) return undefined;
  return version === '0.5.10.post1'
    ? { version, folder, without: `test/sglang/real/${version}`, env: { SGLANG_USE_CPU_ENGINE: '1' } }
    : { version, folder, without: 'test/sglang/real', env: {} };
}

export const pythonOf = ({ folder }: Environment) => join(folder, 'bin/python');
export const MISSING = 'it needs SGLang: npm run test:sglang';
