/** An entry of a port's GID table that is in use. */
export interface Gid {
  readonly index: number;
  /** Eight groups of four hex digits. */
  readonly gid: string;
  readonly type: 'RoCE v2' | 'RoCE v1' | 'InfiniBand' | 'unknown';
}

/** The IPv4 address inside a mapped GID (::ffff:10.0.0.1); undefined for another. */
export function ipv4In(gid: string): string | undefined {
  const match = /^0000:0000:0000:0000:0000:ffff:([0-9a-f]{2})([0-9a-f]{2}):([0-9a-f]{2})([0-9a-f]{2})$/i.exec(gid);
  return match
    ?.slice(1)
    .map((byte) => Number.parseInt(byte, 16))
    .join('.');
}

/** Link-local addresses (fe80::/10) are known on one cable's segment only. */
export const isLinkLocal = (gid: string): boolean => /^fe[89ab]/i.test(gid);

/**
 * The GID that links are made with: RoCE v2 with an IPv4 address first, then RoCE v2 with another routable one; the
 * lowest index of either. Undefined when there is neither.
 */
export function usableGid(gids: readonly Gid[]): Gid | undefined {
  const v2 = gids.filter(({ type }) => type === 'RoCE v2').toSorted((one, other) => one.index - other.index);
  return v2.find(({ gid }) => ipv4In(gid) !== undefined) ?? v2.find(({ gid }) => !isLinkLocal(gid));
}

/** "RoCE v2", "IB/RoCE v1", "RoCE V2" → one spelling. */
export function gidTypeOf(text: string | undefined): Gid['type'] {
  if (text === undefined) return 'unknown';
  if (/roce\s*v2/i.test(text)) return 'RoCE v2';
  if (/roce\s*v1/i.test(text)) return 'RoCE v1';
  return /\bib\b|infiniband/i.test(text) ? 'InfiniBand' : 'unknown';
}
