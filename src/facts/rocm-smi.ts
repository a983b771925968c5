import { rocmTool } from './amd-smi.ts';
import { type Driver, driverOf } from './driver.ts';
import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { type GpuListing, type GpuRecord, bdfOf, isCut, partitionOf, told } from './gpu-record.ts';
import { fieldOf, linesOf } from './lines.ts';
import { normaliseProduct } from './products.ts';
import { type Json, at, integerOf, isObject, jsonIn, mibOf, textOf } from './tool-json.ts';

export interface RocmSmiListing extends GpuListing {
  readonly driver?: Driver;
}

/** The older tool, for hosts where amd-smi is missing or broken. It prints JSON, "GPU[0] : key: value" lines or tables. */
export const rocmSmi: Fact<RocmSmiListing> = {
  name: 'rocm-smi',
  command: () =>
    rocmTool(
      'rocm-smi',
      '--showid',
      '--showproductname',
      '--showmeminfo',
      'vram',
      '--showbus',
      '--showtoponuma',
      '--showdriverversion',
      '--json',
    ),
  timeoutMs: 20_000,
  parse(output) {
    assertEndedWell('rocm-smi', output);
    const root = jsonIn(output.stdout);
    const lines = linesOf(output.stdout);
    const { gpus, driver } = isObject(root)
      ? { gpus: fromCards(root), driver: textOf(at(root, 'system', 'driver version')) }
      : {
          gpus: fromLines(lines) ?? fromTable(lines),
          driver: lines.map((line) => /^Driver version: *(\S+)/i.exec(line)?.[1]).find((found) => found !== undefined),
        };
    if (gpus.length === 0) throw new SyntaxError(whyNothing('rocm-smi', output));
    return told({ gpus, complete: !isCut(output.stdout), driver: driverOf(driver) });
  },
};

type Fields = ReadonlyMap<string, string>;

/** {"card0": {…}, "system": {…}}: keys differ between releases in case and in name. */
function fromCards(root: Readonly<Record<string, Json>>): readonly GpuRecord[] {
  return Object.entries(root).flatMap(([card, fields]) => {
    const index = /^card(\d+)$/.exec(card)?.[1];
    if (index === undefined || !isObject(fields)) return [];
    const texts = Object.entries(fields).map(([key, value]) => [key, textOf(value) ?? ''] as const);
    return [recordOf(Number(index), new Map(texts))];
  });
}

/** "GPU[0]  : Card series: AMD Instinct MI300X" lines; undefined when there are none. */
function fromLines(lines: readonly string[]): readonly GpuRecord[] | undefined {
  const gpus = new Map<number, Map<string, string>>();
  for (const line of lines) {
    const [label = '', rest = ''] = fieldOf(line) ?? [];
    const [key, value] = fieldOf(rest) ?? [];
    const index = /^GPU\[(\d+)\]$/.exec(label)?.[1];
    if (index === undefined || !key) continue;
    const fields = gpus.get(Number(index)) ?? new Map<string, string>();
    gpus.set(Number(index), fields.set(key.toLowerCase(), value!));
  }
  return gpus.size === 0 ? undefined : [...gpus].map(([index, fields]) => recordOf(index, fields));
}

function recordOf(index: number, fields: Fields): GpuRecord {
  const first = (...keys: readonly string[]) =>
    keys.map((key) => textOf(fields.get(key))).find((value) => value !== undefined);
  const deviceId = first('device id', 'gpu id');
  const product = [first('card series'), first('device name')]
    .map((name) => normaliseProduct(name, deviceId))
    .find((name) => name !== undefined);
  const inBytes = (key: string) => {
    const bytes = integerOf(fields.get(key));
    return bytes === undefined ? undefined : mibOf({ value: bytes, unit: 'B' });
  };
  return told({
    index,
    bdf: bdfOf(first('pci bus')),
    product,
    deviceId,
    hbmMiB: inBytes('vram total memory (b)'),
    usedMiB: inBytes('vram total used memory (b)'),
    computePartition: partitionOf(fields.get('compute partition')),
    memoryPartition: partitionOf(fields.get('memory partition')),
    numaNode: integerOf(first('(topology) numa node')),
  });
}

/**
 * The tables of `rocm-smi` alone and of `--showhw`: a row starts with the number of the GPU; its name may stand on the
 * line below. The id in "[0x0c34 : 0x02]" is the board's in some releases, so only an id of a known product counts.
 */
function fromTable(lines: readonly string[]): readonly GpuRecord[] {
  const head = lines.findIndex((line) => /^(?:Device|GPU)\s/.test(line) && /\b(?:Temp|DID|SCLK)\b/.test(line));
  if (head < 0) return [];
  const numbered = lines[head]!.trimEnd().endsWith('PARTITION ID');
  return lines.slice(head + 1).flatMap((line, offset) => {
    const index = /^(\d+)\s{2,}\S/.exec(line)?.[1];
    if (index === undefined) return [];
    const below = lines[head + 2 + offset]?.trim() ?? '';
    const id = /0x[0-9a-f]{4}/i.exec(line)?.[0];
    const partitions = /\b(NPS\d|N\/A),\s*([SDTQC]PX|N\/A)(?:,\s*(\d+))?/.exec(line);
    const lastColumn = numbered ? /\s(\d+)$/.exec(line.trimEnd())?.[1] : undefined;
    return [
      told({
        index: Number(index),
        bdf: bdfOf(/\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d\b/i.exec(line)?.[0]),
        product: normaliseProduct(/^\D/.test(below) && /MI\d|Instinct|Radeon/i.test(below) ? below : undefined, id),
        computePartition: partitionOf(partitions?.[2]),
        memoryPartition: partitionOf(partitions?.[1]),
        partitionId: integerOf(partitions?.[3] ?? lastColumn),
      }),
    ];
  });
}
