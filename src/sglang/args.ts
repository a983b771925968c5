import type { FlagList } from '../spec/flags.ts';
import type { FlagValue } from '../spec/schema.ts';

/** Flags by name without dashes, as the spec writes them. */
export type Args = Readonly<Record<string, FlagValue>>;

/**
 * Flags as program arguments: true is a bare flag, false none at all, a list is several values after one flag, or the
 * flag once per value where its parser takes one at a time.
 */
export function argv(args: Args, flags: FlagList['flags']): readonly string[] {
  return Object.entries(args).flatMap(([name, value]) => {
    const flag = `--${name}`;
    if (value === false) return [];
    if (value === true) return [flag];
    if (!Array.isArray(value)) return one(flag, value);
    return takesMany(flags[name]) ? [flag, ...value.map(String)] : value.flatMap((item) => one(flag, item));
  });
}

/** A flag that no list knows is taken for one of many values, as most of those that take lists are. */
const takesMany = (flag: FlagList['flags'][string] | undefined): boolean =>
  flag === undefined || flag.nargs === '*' || flag.nargs === '+';

/** A value that begins with a dash would be taken for a flag unless it is joined to its own. */
const one = (flag: string, value: string | number): string[] =>
  String(value).startsWith('-') ? [`${flag}=${value}`] : [flag, String(value)];
