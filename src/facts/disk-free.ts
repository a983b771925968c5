import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

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
    for (const line of linesOf(output.stdout).slice(1)) {
      // "/dev/sda1 1000 400 600 40% /data": what stands before the percentage may hold blanks, and so may the mount point.
      const [, free, mount] = /\s(\d{1,18})\s{1,20}\d{1,3}%\s{1,20}(\/.*)/.exec(line) ?? [];
      if (mount !== undefined) return { mount: mount.trim(), freeGiB: Number(free) / 2 ** 20 };
    }
    throw new SyntaxError(whyNothing('df', output));
  },
};

/** "/a/b" → "/a/b", "/a", "/". */
function ancestors(dir: string): readonly string[] {
  const parts = dir.split('/').filter((part) => part !== '');
  return [...parts.map((_, index) => `/${parts.slice(0, parts.length - index).join('/')}`), '/'];
}
