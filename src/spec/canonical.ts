import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import type { ClusterSpec } from './schema.ts';

/**
 * JSON with sorted keys and no spaces: equal values give equal bytes, whatever order their keys were written in. Keys
 * that hold undefined are left out, as in JSON. Throws TypeError for what JSON cannot carry (NaN, Infinity, functions,
 * undefined in a list), since a digest over a silent null would call different things equal.
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
      .filter(([, field]) => field !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1)); // By code unit: the order must not depend on a locale.
    return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(',')}}`;
  }
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return JSON.stringify(value);
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  throw new TypeError(`Expected a JSON value, got ${typeof value === 'number' ? value : typeof value}`);
}

/** "sha256:" and 64 hex digits over the canonical JSON of any JSON value. */
export const digestOf = (value: unknown): string => `sha256:${bytesToHex(sha256(utf8ToBytes(canonicalJson(value))))}`;

/** What names a spec everywhere: "sha256:" and 64 hex digits. Comments, key order and written-out defaults do not change it. */
export const specDigest = (spec: ClusterSpec): string => digestOf(spec);
