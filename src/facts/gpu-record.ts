import type { Json } from './tool-json.ts';
import { linesOf } from './lines.ts';
import { textOf } from './tool-json.ts';

/** One GPU, or one partition of a GPU, as one tool lists it. What the tool did not say is absent. */
export interface GpuRecord {
  /** The tool's own number; in HostFacts the number HIP and SGLang count by. */
  readonly index: number;
  /** In HostFacts, the number of the tool that listed the GPU: what its process list counts by. */
  readonly toolIndex?: number;
  /** The number HIP and SGLang count by, where the tool tells. */
  readonly hipIndex?: number;
  /** "0000:05:00.0", lower case. */
  readonly bdf?: string;
  /** "MI300X". */
  readonly product?: string;
  /** "0x74a1". */
  readonly deviceId?: string;
  readonly hbmMiB?: number;
  readonly usedMiB?: number;
  /** "SPX", "CPX", …; "N/A" where the tool says that the GPU has none. */
  readonly computePartition?: string;
  /** "NPS1", …; "N/A" where the tool says that the GPU has none. */
  readonly memoryPartition?: string;
  readonly partitionId?: number;
  readonly numaNode?: number;
}

/** What one tool says of the GPUs of a host. */
export interface GpuListing {
  readonly gpus: readonly GpuRecord[];
  /** False when the output was cut, so that the number of GPUs cannot be told from it. */
  readonly complete: boolean;
}

/** A marker by which people and log collectors say that they cut an output. */
export const isCut = (text: string): boolean =>
  linesOf(text).some((line) => {
    const mark = line.trim().toLowerCase();
    const inBrackets = mark.startsWith('[') && mark.indexOf(']') === mark.length - 1;
    return (inBrackets && mark.includes('truncated')) || mark === '...' || /^-+\s*snipped\s*-+$/.test(mark);
  });

/** "0000:05:00.0" out of what tools print; undefined for anything else. A missing domain is domain 0. */
export function bdfOf(value: Json | undefined): string | undefined {
  const match = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[0-9a-f]{2}\.[0-7])$/i.exec(textOf(value) ?? '');
  return match ? `${(match[1] ?? '0000').slice(-4)}:${match[2]}`.toLowerCase() : undefined;
}

/** "SPX" and "NPS1" out of what tools print; "N/A" is kept, since it is an answer of its own. */
export function partitionOf(value: Json | undefined): string | undefined {
  if (typeof value !== 'string') return undefined;
  const text = value.trim().replace(/\*$/, '').toUpperCase();
  return /^(?:[SDTQC]PX|NPS\d|N\/A)$/.test(text) ? text : undefined;
}

/** Leaves out keys whose value is undefined: an absent key is what "not told" looks like everywhere here. */
export function told<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}

/**
 * `base` with what it does not say filled in from `other`: by PCI address and partition where both tell them, else by
 * number where both list equally many. What `base` says stays.
 */
export function fillIn(base: readonly GpuRecord[], other: readonly GpuRecord[]): readonly GpuRecord[] {
  const addressed = [...base, ...other].every(({ bdf }) => bdf !== undefined);
  const keyOf = ({ bdf, partitionId, index }: GpuRecord) => (addressed ? `${bdf}-${partitionId ?? 0}` : index);
  // Of two with one key the first counts.
  const byKey = new Map(other.map((gpu) => [keyOf(gpu), gpu] as const).toReversed());
  const comparable = addressed || base.length === other.length;
  return base.map((gpu) => {
    const match = comparable ? byKey.get(keyOf(gpu)) : undefined;
    if (!match) return gpu;
    // "N/A" of one tool gives way to an answer of another: sysfs knows partitions that an old amd-smi does not.
    const said = Object.fromEntries(Object.entries(gpu).filter(([, value]) => value !== 'N/A'));
    const { index: _index, ...rest } = match;
    return { ...gpu, ...rest, ...said };
  });
}
