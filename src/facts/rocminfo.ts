import { rocmTool } from './amd-smi.ts';
import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { type GpuListing, isCut, told } from './gpu-record.ts';
import { normaliseProduct } from './products.ts';

/** The GPU agents in the order in which HIP numbers them. Source: rocminfo of the ROCm runtime. */
export const rocminfo: Fact<GpuListing> = {
  name: 'rocminfo',
  command: () => rocmTool('rocminfo'),
  timeoutMs: 20_000,
  parse(output) {
    assertEndedWell('rocminfo', output);
    // Some releases colour their first line.
    // oxlint-disable-next-line no-control-regex
    const text = output.stdout.replace(/\u001b\[[0-9;]*m/g, '');
    const agents = text.split(/^\*+\s*\nAgent \d+\s*$/m).slice(1);
    const gpus = agents.filter((agent) => field(agent, 'Device Type') === 'GPU');
    if (gpus.length === 0) throw new SyntaxError(whyNothing('rocminfo', output));
    return {
      complete: !isCut(text),
      gpus: gpus.map((agent, index) => {
        const deviceId = /\((0x[0-9a-f]+)\)/.exec(field(agent, 'Chip ID') ?? '')?.[1];
        return told({
          index,
          hipIndex: index,
          bdf: bdfIn(agent),
          product: normaliseProduct(field(agent, 'Marketing Name') || undefined, deviceId),
          deviceId,
          hbmMiB: hbmIn(agent),
        });
      }),
    };
  },
};

const field = (agent: string, name: string): string | undefined =>
  new RegExp(`^\\s+${name}:\\s*(.*?)\\s*$`, 'm').exec(agent)?.[1];

/** BDFID is bus << 8 | device << 3 | function; the domain is a line of its own in newer releases. */
function bdfIn(agent: string): string | undefined {
  const id = Number(field(agent, 'BDFID') ?? Number.NaN);
  if (!Number.isInteger(id)) return undefined;
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const domain = Number(field(agent, 'Domain') ?? 0);
  return `${hex(domain, 4)}:${hex(id >> 8, 2)}:${hex((id >> 3) & 31, 2)}.${id & 7}`;
}

/** One memory shows as several GLOBAL pools of equal size, so the largest counts and never their sum. */
function hbmIn(agent: string): number | undefined {
  const pools = [...agent.matchAll(/Segment:\s*GLOBAL;[^\n]*\n\s*Size:\s*(\d+)\(0x[0-9a-f]+\) KB/g)];
  return pools.length === 0 ? undefined : Math.max(...pools.map(([, sizeKib]) => Number(sizeKib))) / 1024;
}
