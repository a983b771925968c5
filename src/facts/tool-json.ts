/** JSON as command-line tools print it: warnings may stand before it and notes behind it, on the same stream. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

/** Roots tried in one output; a warning like "[WARN] …" looks like a root too, a cut document has none that parses. */
const MAX_CANDIDATES = 20;

/**
 * The first JSON document that starts at the beginning of a line, keys in lower case (releases differ in case);
 * undefined when there is none. Only column 0 counts: an inner object of a cut document is not the document.
 */
export function jsonIn(text: string): Json | undefined {
  const end = Math.max(text.lastIndexOf('}'), text.lastIndexOf(']')) + 1;
  const starts = [...text.matchAll(/^[[{]/gm)].slice(0, MAX_CANDIDATES);
  for (const { index } of starts) {
    try {
      return lowerKeys(JSON.parse(text.slice(index, end)) as Json);
    } catch {
      // Not this one: a warning in brackets, or a cut document.
    }
  }
  return undefined;
}

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The value at a path of keys; undefined where a step is missing. */
export function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  return path.reduce<Json | undefined>((inner, key) => (isObject(inner) ? inner[key] : undefined), value);
}

/** A text that says something; undefined for "N/A", empty and what is no text or number. */
export function textOf(value: Json | undefined): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number') return undefined;
  const text = String(value).trim();
  return text === '' || /^(?:n\/?a|none|unknown|<redacted>)$/i.test(text) ? undefined : text;
}

/** A whole number, also out of "3"; undefined for anything else. */
export function integerOf(value: Json | undefined): number | undefined {
  const text = textOf(value);
  return text !== undefined && /^-?\d+$/.test(text) ? Number(text) : undefined;
}

const MIB_PER_UNIT: ReadonlyMap<string, number> = new Map([
  ['b', 1 / 2 ** 20],
  ['kb', 1 / 1024],
  ['kib', 1 / 1024],
  ['mb', 1],
  ['mib', 1],
  ['gb', 1024],
  ['gib', 1024],
]);

/**
 * A size of memory in MiB, out of {value, unit}, a number, or "196592 MB". The "MB" of these tools is 2^20 bytes;
 * without a unit it is what amd-smi always meant, MB. Undefined for "N/A" and for a unit that is not known.
 */
export function mibOf(value: Json | undefined): number | undefined {
  const inner = isObject(value) ? value['value'] : value;
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(textOf(inner) ?? '');
  if (!match) return undefined;
  const unit = (isObject(value) ? textOf(value['unit']) : undefined) ?? (match[2] || 'MB');
  const factor = MIB_PER_UNIT.get(unit.toLowerCase());
  return factor === undefined ? undefined : Number(match[1]) * factor;
}

function lowerKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(lowerKeys);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key.toLowerCase(), lowerKeys(inner)]));
}
