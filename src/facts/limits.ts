import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/** Memory that a process of this user may lock, in bytes; Infinity for unlimited. Source: proc_pid_limits(5). */
export const memlock: Fact<number> = {
  name: 'limits',
  command: () => ['cat', '/proc/self/limits'],
  timeoutMs: 10_000,
  parse(output) {
    const soft = linesOf(output.stdout)
      .map((line) => /^Max locked memory\s+(unlimited|\d+)\s+(?:unlimited|\d)/.exec(line)?.[1])
      .find((found) => found !== undefined);
    if (soft === undefined) throw new SyntaxError(whyNothing('reading /proc/self/limits', output));
    return soft === 'unlimited' ? Infinity : Number(soft);
  },
};
