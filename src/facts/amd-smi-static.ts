import { amdSmi, amdSmiRecords } from './amd-smi.ts';
import { type Driver, driverOf } from './driver.ts';
import type { Fact } from './fact.ts';
import { type GpuListing, bdfOf, partitionOf, told } from './gpu-record.ts';
import { normaliseProduct } from './products.ts';
import { type JsonObject, at, integerOf, isObject, mibOf, textOf } from './tool-json.ts';

export interface StaticListing extends GpuListing {
  /** Absent when no record tells it, or records tell different ones. */
  readonly driver?: Driver;
}

/** What the GPUs of a host are. Source: AMD SMI's command-line reference; its keys moved between releases. */
export const amdSmiStatic: Fact<StaticListing> = {
  name: 'amd-smi-static',
  command: () => amdSmi('static', '--json'),
  timeoutMs: 30_000,
  parse(output) {
    const { records, complete } = amdSmiRecords(output);
    const drivers = records.map(driverIn);
    const agree = drivers.every((driver) => JSON.stringify(driver) === JSON.stringify(drivers[0]));
    return told({
      gpus: records.map((record) => {
        const deviceId = textOf(at(record, 'asic', 'device_id'));
        const name = textOf(at(record, 'asic', 'market_name')) ?? textOf(at(record, 'board', 'product_name'));
        return told({
          index: record.gpu,
          bdf: bdfOf(at(record, 'bus', 'bdf')),
          product: normaliseProduct(name, deviceId),
          deviceId,
          hbmMiB: mibOf(at(record, 'vram', 'size')),
          computePartition: partitionOf(
            at(record, 'partition', 'compute_partition') ?? at(record, 'partition', 'accelerator_partition'),
          ),
          memoryPartition: partitionOf(at(record, 'partition', 'memory_partition')),
          partitionId: integerOf(at(record, 'partition', 'partition_id')),
          numaNode: integerOf(at(record, 'numa', 'node')),
        });
      }),
      complete,
      driver: agree ? drivers[0] : undefined,
    });
  },
};

/** {name, version}, {driver_name, driver_version} or one text, by release. */
function driverIn(record: JsonObject): Driver | undefined {
  const driver = record['driver'];
  if (!isObject(driver)) return driverOf(textOf(driver));
  return driverOf(textOf(driver['version'] ?? driver['driver_version']));
}
