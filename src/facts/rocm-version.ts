import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';

/** The ROCm release that /opt/rocm points at, without its build: "6.2.0". Source: ROCm's own installation layout. */
export const rocmVersion: Fact<string> = {
  name: 'rocm-version',
  command: () => ['cat', '/opt/rocm/.info/version'],
  timeoutMs: 10_000,
  parse(output) {
    const lines = output.stdout.split('\n').filter((line) => line.trim() !== '');
    const version = /^(?:\S*\/version(?:-\w+)?:)?(\d+\.\d+(?:\.\d+)*)(?:-\S+)?$/.exec(lines[0]?.trim() ?? '')?.[1];
    if (lines.length === 1 && version !== undefined) return version;
    if (/No such file/.test(output.stderr)) throw new SyntaxError('/opt/rocm/.info/version is missing on the host');
    throw new SyntaxError(whyNothing('reading /opt/rocm/.info/version', output));
  },
};
