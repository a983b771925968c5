import { closest, distance } from 'fastest-levenshtein';

/** The candidate that `word` is most likely a misspelling of; undefined when none is near. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  if (candidates.length === 0) return undefined;
  const plain = (text: string) => text.toLowerCase().replaceAll('_', '-');
  const found = closest(plain(word), candidates.map(plain));
  // A transposition costs two, so two of five letters may differ; more would be guessing.
  if (distance(plain(word), found) > Math.max(1, Math.floor(word.length * 0.4))) return undefined;
  return candidates.find((candidate) => plain(candidate) === found);
}

/** `, did you mean "x"?` for the end of a message; empty when no candidate is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const found = nearest(word, candidates);
  return found === undefined ? '' : `, did you mean "${found}"?`;
}
