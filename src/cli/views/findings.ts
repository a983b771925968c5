import { verdictOf, type Finding, type Verdict } from '../../checks/check.ts';

export interface CheckView {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
}

export const checkView = (findings: readonly Finding[]): CheckView => ({ verdict: verdictOf(findings), findings });

/** Findings that did not pass in full, those that did as a count per host. */
export function renderFindings({ verdict, findings }: CheckView): string {
  const lines = findings
    .filter((finding) => finding.verdict !== 'pass')
    .flatMap(({ check, host, peer, verdict: found, evidence, remedy }) => [
      `${found.padEnd(4)}  ${host}${peer ? ` → ${peer}` : ''}  ${check}: ${evidence}`,
      ...(remedy ? [`        remedy: ${remedy}`] : []),
    ]);
  const passed = findings.filter((finding) => finding.verdict === 'pass').length;
  return [...lines, `${verdict}: ${passed} of ${findings.length} findings passed`].join('\n');
}
