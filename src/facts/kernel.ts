import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

/** Release of the kernel, as in "6.8.0-45-generic". Source: uname(1). */
export const kernelRelease: Fact<string> = {
  name: 'kernel-release',
  command: () => ['uname', '-r'],
  timeoutMs: 10_000,
  parse(output) {
    const release = /^\d+\.\d\S*$/.exec(output.stdout.trim())?.[0];
    if (release === undefined) throw new SyntaxError(whyNothing('uname', output));
    return release;
  },
};

/** An id that changes with every boot, by which a measurement is known to be of this boot. Source: random(4). */
export const bootId: Fact<string> = {
  name: 'boot-id',
  command: () => ['cat', '/proc/sys/kernel/random/boot_id'],
  timeoutMs: 10_000,
  parse(output) {
    const id = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.exec(output.stdout.trim())?.[0];
    if (id === undefined) throw new SyntaxError(whyNothing('reading the boot id', output));
    return id.toLowerCase();
  },
};
