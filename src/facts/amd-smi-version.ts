import { amdSmi } from './amd-smi.ts';
import { type Driver, driverOf } from './driver.ts';
import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { told } from './gpu-record.ts';
import { type Json, at, jsonIn, textOf } from './tool-json.ts';

export interface AmdSmiVersion {
  readonly rocm?: string;
  readonly driver?: Driver;
}

/** The ROCm release amd-smi belongs to and, by newer releases, the amdgpu driver. Source: AMD SMI's reference. */
export const amdSmiVersion: Fact<AmdSmiVersion> = {
  name: 'amd-smi-version',
  command: () => amdSmi('version', '--json'),
  timeoutMs: 10_000,
  parse(output) {
    assertEndedWell('amd-smi', output);
    const root = jsonIn(output.stdout);
    const entry = Array.isArray(root) ? (root as readonly Json[])[0] : root;
    const inText = (pattern: RegExp) => pattern.exec(output.stdout)?.[1];
    const rocm = textOf(at(entry, 'rocm_version')) ?? inText(/ROCm version: *([^|\s]+)/i);
    const version = told({
      rocm: rocm !== undefined && /^\d+\.\d+/.test(rocm) ? rocm : undefined,
      driver: driverOf(textOf(at(entry, 'amdgpu_version')) ?? inText(/amdgpu version: *([^|\s]+)/i)),
    });
    if (Object.keys(version).length > 0) return version;
    throw new SyntaxError(
      /AMDSMI Tool/i.test(output.stdout) || root !== undefined
        ? 'amd-smi version told neither ROCm nor the driver'
        : whyNothing('amd-smi', output),
    );
  },
};
