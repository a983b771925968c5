import { verdictOf, type Finding, type Verdict } from '../../checks/check.ts';
import { groupBy } from '../../plan/order.ts';
import { SHOWN_MAX, type Shown } from './shown.ts';

export interface CheckView {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
}

export const checkView = (findings: readonly Finding[]): CheckView => ({ verdict: verdictOf(findings), findings });

/** Findings that did not pass, of each check the first three and how many there are; those that did as a count. */
export function renderFindings({ verdict, findings }: CheckView, shown: Shown = {}): string {
  const lines = firstOfEach(findings, shown).flatMap(({ rows, of, rest }) => [
    ...rows.flatMap(({ check, host, peer, verdict: found, evidence, remedy }) => [
      `${found.padEnd(4)}  ${host}${peer ? ` → ${peer}` : ''}  ${check}: ${evidence}`,
      ...(remedy ? [`        remedy: ${remedy}`] : []),
    ]),
    ...(rest ? [`${of.verdict.padEnd(4)}  ${rest}`] : []),
  ]);
  const passed = findings.filter((finding) => finding.verdict === 'pass').length;
  return [...lines, `${verdict}: ${passed} of ${findings.length} findings passed`].join('\n');
}

/** What did not pass, by check and verdict: the rows to show, and a line about those that are not. */
export function firstOfEach(findings: readonly Finding[], { verbose }: Shown) {
  const bad = findings.filter(({ verdict }) => verdict !== 'pass');
  return [...groupBy(bad, ({ check, verdict }) => `${verdict} ${check}`).values()].map((group) => {
    const rows = verbose ? group : group.slice(0, SHOWN_MAX);
    const of = group[0]!;
    const more = group.length - rows.length;
    const rest = more > 0 && `${of.check}: ${group.length} in all, ${more} not shown (--verbose shows them)`;
    return { rows, of, rest };
  });
}
