import { closest, distance } from 'fastest-levenshtein';

/** Longest word, and most candidates, that are compared: no key or flag is longer, and the search costs their product. */
const MAX_LENGTH = 80;
const MAX_CANDIDATES = 1_000;

/** The candidate that `word` is most likely a misspelling of; undefined when none is near. */
export function nearest(word: string, all: readonly string[]): string | undefined {
  const candidates = all.slice(0, MAX_CANDIDATES);
  if (candidates.length === 0 || word.length > MAX_LENGTH) return undefined;
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
