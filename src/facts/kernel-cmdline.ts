import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

/** The parameters that the kernel was started with, as they stand. Source: proc_cmdline(5). */
export const kernelCmdline: Fact<readonly string[]> = {
  name: 'kernel-cmdline',
  command: () => ['cat', '/proc/cmdline'],
  timeoutMs: 10_000,
  parse(output) {
    const words = output.stdout.split(/\s+/).filter((word) => word !== '');
    // Every boot loader leaves one of these; without them it is some other text.
    if (words.some((word) => /^(?:BOOT_IMAGE|root|ro|rw|quiet|console|initrd)(?:=|$)/.test(word))) return words;
    throw new SyntaxError(whyNothing('reading /proc/cmdline', output));
  },
};
