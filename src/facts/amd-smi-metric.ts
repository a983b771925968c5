import { amdSmi, amdSmiRecords } from './amd-smi.ts';
import type { Fact, ToolOutput } from './fact.ts';
import { assertEndedWell } from './failure.ts';
import { told } from './gpu-record.ts';
import { linesOf } from './lines.ts';
import { at, integerOf, mibOf } from './tool-json.ts';

/** Memory of one GPU by amd-smi's own number; absent fields were not told. */
export interface GpuMemory {
  readonly index: number;
  readonly usedMiB?: number;
  readonly hbmMiB?: number;
}

/** Memory in use on each GPU. Source: AMD SMI's command-line reference; `monitor --csv` is read as well. */
export const amdSmiMetric: Fact<readonly GpuMemory[]> = {
  name: 'amd-smi-metric',
  command: () => amdSmi('metric', '--json'),
  timeoutMs: 30_000,
  parse(output) {
    const gpus = fromCsv(output) ?? fromRecords(output);
    if (gpus.every(({ usedMiB, hbmMiB }) => usedMiB === undefined && hbmMiB === undefined)) {
      throw new SyntaxError('amd-smi metric told no memory use');
    }
    return gpus;
  },
};

function fromRecords(output: ToolOutput): readonly GpuMemory[] {
  return amdSmiRecords(output).records.map((record) => {
    const memory = at(record, 'mem_usage') ?? at(record, 'vram');
    return told({
      index: record.gpu,
      usedMiB: mibOf(at(memory, 'used_vram') ?? at(memory, 'vram_used')),
      hbmMiB: mibOf(at(memory, 'total_vram') ?? at(memory, 'vram_total')),
    });
  });
}

/** "gpu,gfx,vram_used,vram_total" and a row per GPU; columns moved between releases, so they are found by name. */
function fromCsv(output: ToolOutput): readonly GpuMemory[] | undefined {
  const lines = linesOf(output.stdout).map((line) => line.trim());
  const head = lines.findIndex((line) => line.startsWith('gpu,') && line.split(',').includes('vram_used'));
  if (head < 0) return undefined;
  assertEndedWell('amd-smi', output);
  const columns = lines[head]!.split(',');
  const [used, total] = [columns.indexOf('vram_used'), columns.indexOf('vram_total')];
  return lines.slice(head + 1).flatMap((line) => {
    const cells = line.split(',');
    const index = integerOf(cells[columns.indexOf('gpu')]);
    if (index === undefined || cells.length !== columns.length) return [];
    return [told({ index, usedMiB: mibOf(cells[used]), hbmMiB: mibOf(cells[total]) })];
  });
}
