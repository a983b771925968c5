import { isAlias, isMap, isScalar, isSeq } from 'yaml';
import type { Document, Pair } from 'yaml';

/** Most values that aliases and merge keys may stand for beyond what is written: a thousand hosts with ten keys each. */
export const MAX_COPIES = 10_000;

/** What a document says, or the offset of the alias or merge key that is too much or names no mapping. */
export type YamlValue =
  | { readonly value: unknown }
  | { readonly tooMany: number; readonly noMapping?: undefined }
  | { readonly noMapping: number; readonly tooMany?: undefined };

/**
 * The plain data of a document whose aliases all name an anchor before them and whose keys are scalars. The library's own
 * conversion builds the source of a merge anew at every merge, and looks for each alias through all of the document: 100
 * lines took 12 s. Here every node is built once, and what aliases stand for is counted before it can grow.
 */
export function valueOf({ contents }: Document): YamlValue {
  const anchors = new Map<string, Built>();
  let copies = 0;

  const copied = (count: number, at: number) => {
    copies += count;
    if (copies > MAX_COPIES) throw new Stop({ tooMany: at });
  };

  function build(node: unknown): Built {
    if (isAlias(node)) {
      const known = anchors.get(node.source)!;
      copied(known.size, node.range?.[0] ?? 0);
      return known;
    }
    const built = isSeq(node) ? list(node.items) : isMap(node) ? mapping(node.items) : single(node);
    const { anchor } = (node ?? {}) as { readonly anchor?: string };
    if (anchor !== undefined) anchors.set(anchor, built);
    return built;
  }

  const single = (node: unknown): Built => ({ value: isScalar(node) ? node.value : null, size: 1 });

  function list(items: readonly unknown[]): Built {
    const built = items.map(build);
    return { value: built.map(({ value }) => value), size: sum(built) };
  }

  function mapping(items: readonly Pair[]): Built {
    const fields: Record<string, unknown> = {};
    let size = 1;
    for (const { key, value: node } of items) {
      const { value, size: more } = build(node);
      size += more;
      if (isMergeKey(key)) {
        const at = key.range?.[0] ?? 0;
        for (const source of Array.isArray(value) ? value : [value]) {
          if (typeof source !== 'object' || source === null || Array.isArray(source)) throw new Stop({ noMapping: at });
          // What the mapping itself says, before or after, wins over what is merged into it.
          for (const [name, merged] of Object.entries(source))
            if (!Object.hasOwn(fields, name)) set(fields, name, merged);
        }
      } else set(fields, nameOf(key), value);
    }
    return { value: fields, size };
  }

  try {
    return { value: build(contents).value };
  } catch (error) {
    if (error instanceof Stop) return error.why;
    throw error;
  }
}

/** A value, and how many values it is with all that is in it. */
interface Built {
  readonly value: unknown;
  readonly size: number;
}

class Stop extends Error {
  readonly why: YamlValue;

  constructor(why: YamlValue) {
    super();
    this.why = why;
  }
}

const sum = (built: readonly Built[]): number => built.reduce((total, { size }) => total + size, 1);

/** `<<` without quotes. */
export const isMergeKey = (key: unknown): key is { readonly range?: readonly number[] | null } =>
  isScalar(key) && (key.type === undefined || key.type === 'PLAIN') && key.source === '<<';

const nameOf = (key: unknown): string => {
  const name = isScalar(key) ? (key.value as string | number | bigint | boolean | null) : null;
  return name === null ? '' : String(name);
};

/** A key like __proto__ is a key like any other. */
const set = (fields: Record<string, unknown>, name: string, value: unknown): unknown =>
  Object.defineProperty(fields, name, { value, writable: true, enumerable: true, configurable: true });
