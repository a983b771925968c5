import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

export interface DiskFree {
  /** The mount point that the folder is on, or will be on. */
  readonly mount: string;
  readonly freeGiB: number;
}

/**
 * Free space where a folder is or will be. Every ancestor is asked, deepest first, since the folder itself may not be
 * there yet: df passes over what is missing. Source: POSIX df.
 */
export const diskFree: Fact<DiskFree, [dir: string]> = {
  name: 'disk-free',
  command: (dir) => ['df', '-Pk', '--', ...ancestors(dir)],
  timeoutMs: 10_000,
  parse(output) {
    for (const line of output.stdout.split('\n').slice(1)) {
      const row = /\s(\d+)\s+\d+%\s+(\/.*)$/.exec(line);
      if (row) return { mount: row[2]!.trim(), freeGiB: Number(row[1]) / 2 ** 20 };
    }
    throw new SyntaxError(whyNothing('df', output));
  },
};

/** "/a/b" → "/a/b", "/a", "/". */
function ancestors(dir: string): readonly string[] {
  const parts = dir.split('/').filter((part) => part !== '');
  return [...parts.map((_, index) => `/${parts.slice(0, parts.length - index).join('/')}`), '/'];
}
