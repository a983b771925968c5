import { amdSmi, amdSmiRecords } from './amd-smi.ts';
import type { Fact } from './fact.ts';
import { type GpuListing, bdfOf, told } from './gpu-record.ts';
import { integerOf } from './tool-json.ts';

const parse: Fact<GpuListing>['parse'] = (output) => {
  const { records, complete } = amdSmiRecords(output);
  return {
    gpus: records.map((record) =>
      told({
        index: record.gpu,
        hipIndex: integerOf(record['hip_id']),
        bdf: bdfOf(record['bdf']),
        partitionId: integerOf(record['partition_id']),
      }),
    ),
    complete,
  };
};

/** Which GPUs a host has, by PCI address. Source: AMD SMI's command-line reference. */
export const amdSmiList: Fact<GpuListing> = {
  name: 'amd-smi-list',
  command: () => amdSmi('list', '--json'),
  timeoutMs: 15_000,
  parse,
};

/** The same with the number HIP counts by, which differs from amd-smi's. Only newer releases know `-e`. */
export const amdSmiEnumeration: Fact<GpuListing> = {
  name: 'amd-smi-enumeration',
  command: () => amdSmi('list', '-e', '--json'),
  timeoutMs: 15_000,
  parse,
};
