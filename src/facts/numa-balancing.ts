import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

/** 0 when the kernel leaves memory where it is. Source: kernel documentation, sysctl/kernel. */
export const numaBalancing: Fact<number> = {
  name: 'numa-balancing',
  command: () => ['cat', '/proc/sys/kernel/numa_balancing'],
  timeoutMs: 10_000,
  parse(output) {
    const value = /^\s*(?:kernel\.numa_balancing\s*=\s*)?(\d+)\s*$/.exec(output.stdout)?.[1];
    if (value === undefined) throw new SyntaxError(whyNothing('reading kernel.numa_balancing', output));
    return Number(value);
  },
};
