import { type Driver, driverOf } from './driver.ts';
import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

/** Whether amdgpu is loaded, and its release; a driver inside the kernel shows no version. */
export interface AmdgpuModule {
  readonly loaded: boolean;
  readonly driver?: Driver;
}

const FILE = '/sys/module/amdgpu';

/** Source: /sys/module of the kernel; `version` comes from AMD's driver package alone. */
export const amdgpuModule: Fact<AmdgpuModule> = {
  name: 'amdgpu-module',
  command: () => ['grep', '-sH', '.', `${FILE}/version`, `${FILE}/initstate`, `${FILE}/srcversion`],
  timeoutMs: 10_000,
  parse(output) {
    const lines = output.stdout.split('\n').filter((line) => line.trim() !== '');
    const version = lines.map((line) => /^(?:\S*\/version:)?(\d\S*)$/.exec(line.trim())?.[1]).find(Boolean);
    const driver = driverOf(version);
    if (driver) return { loaded: true, driver };
    if (lines.some((line) => line.startsWith(`${FILE}/`))) return { loaded: true };
    // grep -s ends with 1 or 2 and silence when the files are not there.
    if (lines.length === 0 && output.stderr.trim() === '' && output.exitCode !== 0 && output.exitCode <= 2) {
      return { loaded: false };
    }
    throw new SyntaxError(whyNothing(`reading ${FILE}`, output));
  },
};
