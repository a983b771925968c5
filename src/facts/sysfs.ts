import type { ToolOutput } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/**
 * Files of sysfs as `grep -H` prints them: "path:value", a line each. They are found by `find -L`, since entries of
 * /sys/class are links, and no shell expands a pattern: a simulated host answers for its own tree.
 */
export const findAndPrint = (
  root: string,
  { depth, prune = [], names }: { depth: number; prune?: readonly string[]; names: readonly string[] },
): readonly string[] => [
  'find',
  '-L',
  root,
  '-maxdepth',
  String(depth),
  ...(prune.length === 0 ? [] : ['(', ...either('-path', prune), ')', '-prune', '-o']),
  '(',
  ...either('-path', names),
  ')',
  '-exec',
  'grep',
  '-sH',
  // Everything but zeros: of 256 GIDs of a port most are empty. A lone 0 is a value.
  '-e',
  '[^0:]',
  '-e',
  '^0$',
  '{}',
  '+',
];

const either = (test: string, patterns: readonly string[]): readonly string[] =>
  patterns.flatMap((pattern, index) => (index === 0 ? [test, pattern] : ['-o', test, pattern]));

/** Every "path:value" under `root`, by path; lines of one file are joined. Throws SyntaxError when there is none. */
export function sysfsFiles(root: string, output: ToolOutput): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  for (const line of linesOf(output.stdout)) {
    // A PCI address in a path holds colons too; class paths hold none.
    const colon = line.indexOf(':');
    const path = line.slice(0, colon);
    if (colon < 0 || !path.startsWith(root) || /\s/.test(path)) continue;
    const value = line.slice(colon + 1);
    files.set(path, files.has(path) ? `${files.get(path)!}\n${value}` : value.trim());
  }
  if (files.size > 0) return files;
  const missing = /No such file or directory/.test(output.stderr);
  throw new SyntaxError(missing ? `${root} is missing on the host` : whyNothing(`reading ${root}`, output));
}
