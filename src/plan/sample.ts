/** Above this many pairs each end is tried with four partners instead of with all. */
export const PAIRS_ALL_MAX = 64;
export const PARTNERS = 4;

/**
 * Four partners for every item: those that follow it in the other list, round and round, so that the load spreads
 * evenly and the same lists give the same pairs. `step` -1 looks backwards, which finds the pairs that a forward look
 * from the other side has found already.
 */
export function partners<T, U>(
  items: readonly T[],
  others: readonly U[],
  mayPair: (item: T, other: U) => boolean,
  step: 1 | -1,
): readonly (readonly [T, U])[] {
  return items.flatMap((item, at) => {
    const found: (readonly [T, U])[] = [];
    for (let hop = 0; hop < others.length && found.length < PARTNERS; hop += 1) {
      const place = (at + step * hop) % others.length;
      const other = others[place < 0 ? place + others.length : place]!;
      if (mayPair(item, other)) found.push([item, other]);
    }
    return found;
  });
}

/** Every pair of a source and a target of which one is new, or a sample of them, without repeats. */
export function pairUp<T>(
  {
    sources,
    targets,
    isNew,
    mayPair,
  }: {
    readonly sources: readonly T[];
    readonly targets: readonly T[];
    readonly isNew: (item: T) => boolean;
    readonly mayPair: (source: T, target: T) => boolean;
  },
  coverage: 'all' | 'sampled',
): { readonly pairs: readonly (readonly [T, T])[]; readonly of: number; readonly sampled: boolean } {
  const all = sources.flatMap((source) =>
    targets
      .filter((target) => (isNew(source) || isNew(target)) && mayPair(source, target))
      .map((target): readonly [T, T] => [source, target]),
  );
  if (coverage === 'all' && all.length <= PAIRS_ALL_MAX) return { pairs: all, of: all.length, sampled: false };
  const forward = partners(sources.filter(isNew), targets, mayPair, 1);
  const backward = partners(targets.filter(isNew), sources, (target, source) => mayPair(source, target), -1);
  const kept = new Map<T, Set<T>>();
  for (const [source, target] of [...forward, ...backward.map(([target, source]) => [source, target] as const)]) {
    kept.set(source, (kept.get(source) ?? new Set()).add(target));
  }
  const pairs = all.filter(([source, target]) => kept.get(source)?.has(target) ?? false);
  return { pairs, of: all.length, sampled: pairs.length < all.length };
}
