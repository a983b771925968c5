import { someText } from '../text/some.ts';
import { groupBy } from '../plan/order.ts';
import type { ClusterSpec } from '../spec/schema.ts';

export type Verdict = 'pass' | 'warn' | 'fail';

/** What a check says of one host or link. `evidence` always holds what was measured and what was wanted. */
export interface Finding {
  readonly check: string;
  readonly host: string;
  /** The other end of a link. */
  readonly peer?: string;
  readonly verdict: Verdict;
  readonly evidence: string;
  readonly remedy?: string;
}

export type Judgement = Pick<Finding, 'verdict' | 'evidence' | 'remedy'>;

/** The worst of them; pass when there are none. */
export const verdictOf = (findings: readonly Pick<Finding, 'verdict'>[]): Verdict =>
  findings.some(({ verdict }) => verdict === 'fail')
    ? 'fail'
    : findings.some(({ verdict }) => verdict === 'warn')
      ? 'warn'
      : 'pass';

/** A waived failure is a warning that carries the reason. */
export function waive(finding: Finding, waivers: ClusterSpec['checks']['waive']): Finding {
  const waiver = waivers.find(
    ({ check, host }) => check === finding.check && (host === undefined || host === finding.host),
  );
  if (!waiver || finding.verdict !== 'fail') return finding;
  return { ...finding, verdict: 'warn', evidence: `${finding.evidence} (waived: ${waiver.reason})` };
}

/** Places and checks that a failure names; the rest is counted. */
const NAMED = 3;

/** "gpu-driver on a, b, c and 2 more; rdma-link on a → d": of each check the first places, and how many more there are. */
export function failedChecks(failed: readonly Pick<Finding, 'check' | 'host' | 'peer'>[]): string {
  const checks = [...groupBy(failed, ({ check }) => check)].map(([check, rows]) => {
    const places = new Set(rows.map(({ host, peer }) => (peer ? `${host} → ${peer}` : host)));
    return `${check} on ${someText([...places], NAMED)}`;
  });
  return someText(checks, NAMED, '; ');
}
