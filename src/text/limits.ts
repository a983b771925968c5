import { isActing } from './visible.ts';

/**
 * Longest texts of a request, in bytes of UTF-8. Temporal's databases take 255 of a keyword, which the actor is, and 400
 * of a summary, in which it stands with the cluster; the rest stands in memos and records, which are read by people.
 */
export const LIMITS = { actor: 255, reason: 1_024, memo: 1_024 } as const;

export interface RequestTexts {
  readonly actor?: string | undefined;
  readonly reason?: string | undefined;
  /** Where the spec came from: its path, a commit, a ticket. */
  readonly memo?: Readonly<Record<string, string>> | undefined;
}

/** What is wrong with a text of a request. */
export interface TextProblem {
  /** "actor", "reason", or the name of the memo. */
  readonly field: string;
  /** Measured and wanted: 'has 300 bytes, at most 255 are taken'. */
  readonly problem: string;
}

/** The first text of a request that Temporal's database or a reader's terminal would not take. Pure: workflows ask it too. */
export function requestProblem({ actor, reason, memo = {} }: RequestTexts): TextProblem | undefined {
  const rows = [
    ...(actor === undefined ? [] : [['actor', actor, LIMITS.actor] as const]),
    ...(reason === undefined ? [] : [['reason', reason, LIMITS.reason] as const]),
    ...Object.entries(memo).map(([name, text]) => [name, text, LIMITS.memo] as const),
  ];
  for (const [field, text, limit] of rows) {
    const problem = problemOf(field, text, limit);
    if (problem !== undefined) return { field, problem };
  }
  return undefined;
}

function problemOf(field: string, text: string, limit: number): string | undefined {
  const bytes = utf8Bytes(text);
  if (bytes > limit) return `has ${bytes} bytes, at most ${limit} are taken`;
  if (field !== 'actor') return undefined;
  if (text.trim() === '') return 'is empty, a name is wanted';
  return isActing(text) ? 'holds a control character, a name in plain text is wanted' : undefined;
}

/** Length of a text as UTF-8, in bytes. Half of a pair counts as the sign that stands for it. */
export function utf8Bytes(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}
