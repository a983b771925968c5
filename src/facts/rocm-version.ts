import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';
import { fieldOf, linesOf } from './lines.ts';

/** The ROCm release that /opt/rocm points at, without its build: "6.2.0". Source: ROCm's own installation layout. */
export const rocmVersion: Fact<string> = {
  name: 'rocm-version',
  command: () => ['cat', '/opt/rocm/.info/version'],
  timeoutMs: 10_000,
  parse(output) {
    const lines = linesOf(output.stdout).filter((line) => line.trim() !== '');
    const first = lines[0]?.trim() ?? '';
    const [path, printed] = fieldOf(first) ?? ['', first]; // grep -H names the file.
    const version = /^(\d+\.\d+(?:\.\d+)*)(?:-\S+)?$/.exec(printed)?.[1];
    if (lines.length === 1 && version !== undefined && /^$|\/version(?:-\w+)?$/.test(path)) return version;
    if (/No such file/.test(output.stderr)) throw new SyntaxError('/opt/rocm/.info/version is missing on the host');
    throw new SyntaxError(whyNothing('reading /opt/rocm/.info/version', output));
  },
};
