/** Orders that do not depend on a locale or on how an inventory happened to be listed. */

/** By code unit. */
export const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Device names as people count them: bnxt_re2 before bnxt_re10. */
export function byDevice(a: string, b: string): number {
  const [stemA, numberA] = counted(a);
  const [stemB, numberB] = counted(b);
  return byText(stemA, stemB) || Number(numberA) - Number(numberB) || byText(a, b);
}

/** "bnxt_re10" → "bnxt_re" and "10". */
function counted(name: string): readonly [stem: string, number: string] {
  let end = name.length;
  while (end > 0 && name[end - 1]! >= '0' && name[end - 1]! <= '9') end -= 1;
  return [name.slice(0, end), name.slice(end)];
}

/** Groups in the order in which their first member comes. */
export function groupBy<K, T>(items: Iterable<T>, keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
