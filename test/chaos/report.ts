import { CRASHES, matrix, OPERATIONS } from './cases.ts';
import type { RaceResult } from './race.ts';
import type { CaseResult } from './run.ts';

/** A line of the results file. */
export type Line =
  | (CaseResult & { readonly kind: 'case'; readonly commit: string; readonly at: string })
  | (RaceResult & { readonly kind: 'race'; readonly seed: number; readonly commit: string; readonly at: string });

const unique = (texts: readonly string[]) => [...new Set(texts)];
const counted = (texts: readonly string[]): string =>
  unique(texts)
    .toSorted()
    .map((text) => `${texts.filter((each) => each === text).length} ${text}`)
    .join(', ');

/** The results that count, of lines from the oldest on: of a case that was run again its last run. */
export const counting = (lines: readonly Line[]): readonly Line[] => [
  ...new Map(lines.map((line, at) => [line.kind === 'case' ? `${line.case} ${line.seed}` : at, line])).values(),
];

/** The results, oldest first, as the page docs/chaos.md, Markdown. */
export function report(lines: readonly Line[]): string {
  const ran = lines.filter((line) => line.kind === 'case');
  const cases = counting(lines).filter((line) => line.kind === 'case');
  const mended = ran.filter((line) => line.violations.length > 0 && !cases.includes(line));
  const races = lines.filter((line) => line.kind === 'race');
  const failed = cases.filter(({ violations }) => violations.length > 0);
  const lost = races.filter(({ violations }) => violations.length > 0);
  const struck = cases.filter(({ hit }) => hit !== '');
  const own = struck.filter(({ case: name, hit }) => name.split('/')[1] === hit);
  const cell = (operation: string, crash: string) => {
    const here = cases.filter(({ case: name }) => name.startsWith(`${operation}/`) && name.endsWith(`/${crash}`));
    if (here.length === 0) return '';
    const bad = here.filter(({ violations }) => violations.length > 0).length;
    return `${here.length}${bad > 0 ? `, **${bad} broken**` : ''}`;
  };
  return [
    '# Crash campaign',
    'Written by `npm run chaos`. Each case runs one operation on simulated hosts, strikes it at one step, and holds the end against what the hosts show: succeeded and serving; or rolled back to the picture from before; or stuck with everything that differs named; nothing started twice; and after `destroy` the hosts are as before all. A case of a crash that comes too late counts as not struck.',
    [
      `- commits: ${unique(lines.map(({ commit }) => commit)).join(', ')}`,
      `- seeds: ${unique(lines.map(({ seed }) => String(seed))).join(', ')}`,
      `- cases run: ${cases.length} (${unique(cases.map(({ case: name }) => name)).length} of the ${matrix().length} of the matrix); struck: ${struck.length}, of these in the wanted step ${own.length}, in a later one ${struck.length - own.length}`,
      `- ends: ${counted(cases.map(({ outcome }) => outcome))}`,
      `- destroyed at the first attempt: ${cases.filter(({ destroys }) => destroys === 1).length} of ${cases.length}`,
      `- broken promises: ${failed.length} cases; broken in a run before, and not when run again: ${unique(mended.map(({ case: name }) => name)).join(', ') || 'none'}`,
      `- two Temporal servers race for the same GPUs: ${races.length} rounds, ${counted(races.map(({ refused }) => `the loser refused by ${refused || 'nothing'}`))}; broken: ${lost.length}`,
    ].join('\n'),
    [
      `| cases | ${CRASHES.join(' | ')} |`,
      `|---|${CRASHES.map(() => '---').join('|')}|`,
      ...OPERATIONS.map(
        (operation) => `| ${operation} | ${CRASHES.map((crash) => cell(operation, crash)).join(' | ')} |`,
      ),
    ].join('\n'),
    ...(failed.length + lost.length > 0
      ? [
          [
            '## Broken promises',
            ...failed.flatMap(({ case: name, seed, hit, outcome, violations }) => [
              `- ${name}, seed ${seed}, struck in ${hit || 'nothing'}, ended ${outcome}`,
              ...violations.map((violation) => `  - ${violation}`),
            ]),
            ...lost.flatMap(({ violations }) => ['- race', ...violations.map((violation) => `  - ${violation}`)]),
          ].join('\n'),
        ]
      : []),
  ].join('\n\n');
}
