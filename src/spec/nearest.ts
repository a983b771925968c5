import { closest, distance } from 'fastest-levenshtein';

/** The candidate that `word` is most likely a misspelling of; undefined when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (candidates.length === 0) return undefined;
  const plain = (text: string) => text.toLowerCase().replaceAll('_', '-');
  const found = closest(plain(word), candidates.map(plain));
  // Two letters changed places cost two; far more than that would be guessing.
  const most = word.length < 4 ? 1 : Math.max(2, Math.floor(word.length * 0.4));
  if (distance(plain(word), found) > most) return undefined;
  return candidates.find((candidate) => plain(candidate) === found);
}

/** `, did you mean "x"?` for the end of a message; empty when no candidate is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const found = nearest(word, candidates);
  return found === undefined ? '' : `, did you mean "${found}"?`;
}
