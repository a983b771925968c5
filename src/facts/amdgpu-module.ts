import { type Driver, driverOf } from './driver.ts';
import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/** Whether amdgpu is loaded, and its release; a driver inside the kernel shows no version. */
export interface AmdgpuModule {
  readonly loaded: boolean;
  readonly driver?: Driver;
}

const FILE = '/sys/module/amdgpu';

/** What grep -H or cat printed of `version`; undefined for a line of another file. */
const valueOf = (line: string): string | undefined =>
  line.startsWith(`${FILE}/version:`) ? line.slice(`${FILE}/version:`.length) : /^\d/.test(line) ? line : undefined;

/** Source: /sys/module of the kernel; `version` comes from AMD's driver package alone. */
export const amdgpuModule: Fact<AmdgpuModule> = {
  name: 'amdgpu-module',
  command: () => ['grep', '-sH', '.', `${FILE}/version`, `${FILE}/initstate`, `${FILE}/srcversion`],
  timeoutMs: 10_000,
  parse(output) {
    const lines = linesOf(output.stdout).filter((line) => line.trim() !== '');
    const driver = lines.map((line) => driverOf(valueOf(line.trim()))).find((found) => found !== undefined);
    if (driver) return { loaded: true, driver };
    if (lines.some((line) => line.startsWith(`${FILE}/`))) return { loaded: true };
    // grep -s ends with 1 or 2 and silence when the files are not there.
    if (lines.length === 0 && output.stderr.trim() === '' && output.exitCode !== 0 && output.exitCode <= 2) {
      return { loaded: false };
    }
    throw new SyntaxError(whyNothing(`reading ${FILE}`, output));
  },
};
