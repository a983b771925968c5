import { rocmTool } from './amd-smi.ts';
import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { type GpuListing, isCut, told } from './gpu-record.ts';
import { fieldOf, fieldsIn, linesOf, sectionsOf } from './lines.ts';
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
    const lines = linesOf(text);
    // The heading of an agent stands between two lines of asterisks.
    const isHead = (line: string, index: number) =>
      /^Agent \d+$/.test(line.trimEnd()) && /^\*+$/.test(lines[index - 1]?.trimEnd() ?? '');
    const agents = sectionsOf(lines, isHead).map((section) => ({ section, fields: fieldsIn(section) }));
    const gpus = agents.filter(({ fields }) => fields.get('Device Type') === 'GPU');
    if (gpus.length === 0) throw new SyntaxError(whyNothing('rocminfo', output));
    return {
      complete: !isCut(text),
      gpus: gpus.map(({ section, fields }, index) => {
        const deviceId = /\((0x[0-9a-f]{1,8})\)/.exec(fields.get('Chip ID') ?? '')?.[1];
        return told({
          index,
          hipIndex: index,
          bdf: bdfIn(fields),
          product: normaliseProduct(fields.get('Marketing Name'), deviceId),
          deviceId,
          hbmMiB: hbmIn(section),
        });
      }),
    };
  },
};

/** BDFID is bus << 8 | device << 3 | function; the domain is a line of its own in newer releases. */
function bdfIn(fields: ReadonlyMap<string, string>): string | undefined {
  const id = Number(fields.get('BDFID') ?? Number.NaN);
  if (!Number.isInteger(id)) return undefined;
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const domain = Number(fields.get('Domain') ?? 0);
  return `${hex(domain, 4)}:${hex(id >> 8, 2)}:${hex((id >> 3) & 31, 2)}.${id & 7}`;
}

/** One memory shows as several GLOBAL pools of equal size, so the largest counts and never their sum. */
function hbmIn(section: readonly string[]): number | undefined {
  const sizesKib = section.flatMap((line, index) => {
    const [name, value] = fieldOf(line) ?? [];
    if (name !== 'Segment' || !value?.startsWith('GLOBAL;')) return [];
    const [below, size] = fieldOf(section[index + 1] ?? '') ?? [];
    const sizeKib = below === 'Size' ? /^(\d+)\(0x[0-9a-f]+\) KB/.exec(size!)?.[1] : undefined;
    return sizeKib === undefined ? [] : [Number(sizeKib)];
  });
  return sizesKib.length === 0 ? undefined : sizesKib.reduce((most, size) => Math.max(most, size)) / 1024;
}
