import type { ClusterSpec } from '../spec/schema.ts';

/** Flags as the spec writes them: by name without dashes, whatever name the parser also takes. */
export type Args = ClusterSpec['engine']['args'];
type FlagValue = Args[string];

/** What is known of the flags of one version; `undefined` where no list is kept. */
export interface FlagNames {
  /** The one name a parser keeps for a flag, its aliases and prefixes: "tp" → "tp-size". Unknown names stay. */
  readonly canonical: (name: string) => string;
  /** Several values after one flag, as argparse's nargs + and * take them, or the flag once per value. */
  readonly takesMany: (name: string) => boolean;
}

/** The layers in one, later ones winning, under canonical names in the order of the alphabet: the order of keys in a file decides nothing. */
export function mergeArgs({ canonical }: FlagNames, ...layers: readonly Args[]): Args {
  const merged = new Map<string, FlagValue>();
  for (const layer of layers) {
    for (const [name, value] of Object.entries(layer)) merged.set(canonical(name), value);
  }
  return Object.fromEntries([...merged].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Flags as program arguments: true is a bare flag, false none at all. */
export function argv(args: Args, { takesMany }: FlagNames): readonly string[] {
  return Object.entries(args).flatMap(([name, value]) => {
    const flag = `--${name}`;
    if (value === false) return [];
    if (value === true) return [flag];
    if (!Array.isArray(value)) return one(flag, value);
    return takesMany(name) ? [flag, ...value.map(String)] : value.flatMap((item) => one(flag, item));
  });
}

/** A value that begins with a dash would be taken for a flag unless it is joined to its own. */
const one = (flag: string, value: string | number): string[] =>
  String(value).startsWith('-') ? [`${flag}=${value}`] : [flag, String(value)];
