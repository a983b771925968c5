import { type HostOutputs, readHostFacts } from '../facts/host-facts.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { type Finding, type Verdict, verdictOf } from './check.ts';
import { demandWithoutPlan } from './demand.ts';
import { judgeHost } from './index.ts';

/**
 * Judges what hosts once printed, DIR/<host>/<fact>.txt, against a spec, without reaching them: as if every GPU of
 * every host were wanted. A host without a folder fails, since nothing of it could be read.
 */
export function judgeCapture(
  files: Readonly<Record<string, HostOutputs>>,
  spec: ClusterSpec,
): { readonly verdict: Verdict; readonly findings: readonly Finding[] } {
  const findings = spec.hosts.list.flatMap((host) =>
    judgeHost(readHostFacts(files[host.name] ?? {}), demandWithoutPlan(spec, host)),
  );
  return { verdict: verdictOf(findings), findings };
}
