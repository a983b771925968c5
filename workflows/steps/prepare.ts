import { ApplicationFailure } from '@temporalio/workflow';
import { failedChecks, verdictOf, type Finding } from '../../src/checks/check.ts';
import { demandsOf } from '../../src/checks/demand.ts';
import { byText } from '../../src/plan/order.ts';
import type { Operation, Work } from '../operation.ts';
import { LONG, type DeployContext } from './context.ts';

export function leaseGpus({ plan, input, operation, ledger, ref }: DeployContext, on: readonly string[]): Work {
  const { cluster, installation, deployment } = input;
  const owner = { cluster, installation, deployment };
  const rows = plan.leases.filter(({ host }) => on.includes(host));
  const leases = rows.toSorted((a, b) => byText(ref(a.host).address, ref(b.host).address));
  return {
    cuttable: true,
    run: async () => {
      const lease = async (some: typeof leases) => {
        await operation.each(some, async ({ host, pci }, act) => {
          await act({ summary: `lease ${pci.length} GPUs of ${host}` }).leaseGpus({ ref: ref(host), pci, owner });
        });
      };
      // The lowest address alone: of two clusters that race for the same hosts, one is then refused before it holds
      // anything; at once, each could take a host that the other wants, and both would fail.
      await lease(leases.slice(0, 1));
      await lease(leases.slice(1));
    },
    undo: () =>
      operation.each(rows, async ({ host, pci }, act) => {
        if (!ledger().held.includes(host))
          await act({ summary: `release GPUs of ${host}` }).releaseGpus({ ref: ref(host), pci, owner });
      }),
  };
}

/** Drivers, ROCm, GPUs, ports, RDMA devices: of the hosts where something starts. */
export function checkHosts({ plan, input, operation, ledger, ref }: DeployContext, on: readonly string[]): Work {
  const { leases } = ledger();
  const demands = demandsOf(input.spec, plan, { leases }).filter(({ host }) => on.includes(host));
  return {
    cuttable: true,
    run: async () => {
      const findings: Finding[] = [];
      await operation.each(demands, async (demand, act) => {
        findings.push(...(await act({ summary: `check ${demand.host}` }).checkHost({ ref: ref(demand.host), demand })));
      });
      judged(operation, findings);
    },
  };
}

/** Measured bandwidth of every new link, a round at a time, so that no NIC is in two tests. */
export function checkLinks({ plan, input, operation, ref }: DeployContext): Work {
  const { testSeconds } = input.spec.rdma;
  return {
    cuttable: true,
    run: async () => {
      const findings: Finding[] = [];
      let number = 0;
      for (const round of plan.rounds) {
        number += 1;
        const hosts = new Set(round.tests.flatMap(({ source, target }) => [source.host, target.host]));
        const summary = `measure links, round ${number} of ${plan.rounds.length}`;
        findings.push(
          ...(await operation.act({ summary }).measureRound({
            round,
            refs: [...hosts].map(ref),
            seconds: testSeconds,
            waive: input.spec.checks.waive,
          })),
        );
      }
      judged(operation, findings);
    },
  };
}

/** Findings of which a failure quotes the evidence; all are in the operation's progress. */
const EVIDENCE_SHOWN = 10;

function judged(operation: Operation, findings: readonly Finding[]): void {
  operation.findings(findings);
  if (verdictOf(findings) !== 'fail') return;
  const failed = findings.filter(({ verdict }) => verdict === 'fail');
  const [first] = failed;
  throw ApplicationFailure.create({
    type: 'CHECK_FAILED',
    nonRetryable: true,
    message: `${failed.length} of ${findings.length} findings failed: ${failedChecks(failed)}`,
    details: [
      {
        host: first!.host,
        evidence: failed
          .slice(0, EVIDENCE_SHOWN)
          .map(({ check, host, evidence }) => `${host} ${check}: ${evidence}`)
          .join('\n'),
        remedy: first!.remedy ?? 'See the findings.',
      },
    ],
  });
}

/** Every host of an image has the same one. */
export function fetchImages({ plan, input, operation, ref, note }: DeployContext, on: readonly string[]): Work {
  const { pull } = input.spec.engine;
  return {
    cuttable: true,
    run: async () => {
      for (const { reference, hosts } of plan.images.filter((image) => on.includes(image.reference))) {
        const ids: Record<string, string> = {};
        await operation.each(hosts, async (host, act) => {
          const fetched = act({ summary: `image ${reference} on ${host}`, minutes: LONG });
          ids[host] = (await fetched.fetchImage({ ref: ref(host), reference, pull })).id;
        });
        await operation.act({ summary: `one ${reference} on all hosts` }).compareImages({ reference, ids });
        note({ images: { [reference]: Object.values(ids)[0]! } });
      }
    },
  };
}

export function stageWeights({ plan, input, operation, ref }: DeployContext, on: readonly string[]): Work {
  const { spec, cluster, installation, deployment } = input;
  const { source: from, token, endpoint } = spec.model;
  const model = { ...(token ? { token } : {}), ...(endpoint ? { endpoint } : {}) };
  const owner = { cluster, installation, deployment };
  const rows = plan.staging.filter(({ host }) => on.includes(host));
  return {
    cuttable: true,
    run: async () => {
      if (rows.length === 0) return;
      const source = await operation.act({ summary: 'resolve the revision' }).pinSource({ source: from, model });
      await operation.each(rows, async (row, act) => {
        await act({ summary: `weights on ${row.host}`, minutes: LONG }).stageWeights({
          ref: ref(row.host),
          staging: { ...row, source },
          model,
          ...owner,
        });
      });
    },
    undo: () =>
      operation.each(rows, async ({ host, path, copy }, act) => {
        if (copy)
          await act({ summary: `drop partial weights on ${host}` }).dropPartial({ ref: ref(host), path, ...owner });
      }),
  };
}

/** What no engine of the plan uses; it cannot be undone. */
export function releaseGpus({ plan, input, operation, ref }: DeployContext, on: readonly string[]): Work {
  const { cluster, installation } = input;
  const rows = plan.releases.filter(({ host }) => on.includes(host));
  return {
    run: () =>
      operation.each(rows, async ({ host, pci }, act) => {
        const owner = { cluster, installation };
        await act({ summary: `release GPUs of ${host}` }).releaseGpus({ ref: ref(host), pci, owner });
      }),
  };
}
