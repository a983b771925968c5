import { ApplicationFailure } from '@temporalio/workflow';
import { failedChecks, verdictOf, type Finding } from '../../src/checks/check.ts';
import { demandsOf } from '../../src/checks/demand.ts';
import { byText } from '../../src/plan/order.ts';
import type { Operation, OperationStep } from '../operation.ts';
import { LONG, startingRanks, type DeployContext } from './context.ts';

export function leaseGpus({ plan, input, operation, held, ref }: DeployContext): OperationStep {
  const { cluster, installation, deployment } = input;
  const owner = { cluster, installation, deployment };
  const leases = plan.leases.toSorted((a, b) => byText(ref(a.host).address, ref(b.host).address));
  return {
    name: 'lease-gpus',
    cuttable: true,
    run: async () => {
      const lease = async (rows: typeof leases) => {
        await operation.each(rows, async ({ host, pci }, act) => {
          await act({ summary: `lease ${pci.length} GPUs of ${host}` }).leaseGpus({ ref: ref(host), pci, owner });
        });
      };
      // The lowest address alone: of two clusters that race for the same hosts, one is then refused before it holds
      // anything; at once, each could take a host that the other wants, and both would fail.
      await lease(leases.slice(0, 1));
      await lease(leases.slice(1));
    },
    undo: () =>
      operation.each(plan.leases, async ({ host, pci }, act) => {
        if (!held.has(host))
          await act({ summary: `release GPUs of ${host}` }).releaseGpus({ ref: ref(host), pci, owner });
      }),
  };
}

/** Drivers, ROCm, GPUs, ports, RDMA devices: of the hosts where something starts. */
export function checkHosts({ plan, input, inventory, operation, ref }: DeployContext): OperationStep {
  const starting = new Set(startingRanks(plan).map(({ host }) => host));
  if (plan.router.kind === 'managed' && plan.router.action !== 'keep') starting.add(plan.router.host);
  const leases = Object.fromEntries(inventory.hosts.map((host) => [host.host, host.leases]));
  const demands = demandsOf(input.spec, plan, { leases }).filter(({ host }) => starting.has(host));
  return {
    name: 'check-rocm',
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
export function checkLinks({ plan, input, operation, ref }: DeployContext): OperationStep {
  const { testSeconds } = input.spec.rdma;
  return {
    name: 'check-rdma',
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

/** The image first: it unpacks while weights move. */
export function fetchAndStage({ plan, input, operation, ref }: DeployContext): readonly OperationStep[] {
  const { spec, cluster, installation, deployment } = input;
  const model = {
    ...(spec.model.token ? { token: spec.model.token } : {}),
    ...(spec.model.endpoint ? { endpoint: spec.model.endpoint } : {}),
  };
  const owner = { cluster, installation, deployment };
  return [
    {
      name: 'fetch-image',
      cuttable: true,
      run: async () => {
        for (const { reference, hosts } of plan.images) {
          const ids: Record<string, string> = {};
          await operation.each(hosts, async (host, act) => {
            ids[host] = (
              await act({ summary: `image ${reference} on ${host}`, minutes: LONG }).fetchImage({
                ref: ref(host),
                reference,
                pull: spec.engine.pull,
              })
            ).id;
          });
          await operation.act({ summary: `one ${reference} on all hosts` }).compareImages({ reference, ids });
          operation.images[reference] = Object.values(ids)[0]!;
        }
      },
    },
    {
      name: 'stage-weights',
      cuttable: true,
      run: async () => {
        if (plan.staging.length === 0) return;
        const source = await operation
          .act({ summary: 'resolve the revision' })
          .pinSource({ source: spec.model.source, model });
        await operation.each(plan.staging, async (staging, act) => {
          await act({ summary: `weights on ${staging.host}`, minutes: LONG }).stageWeights({
            ref: ref(staging.host),
            staging: { ...staging, source },
            model,
            ...owner,
          });
        });
      },
      undo: () =>
        operation.each(plan.staging, async ({ host, path, copy }, act) => {
          if (copy)
            await act({ summary: `drop partial weights on ${host}` }).dropPartial({ ref: ref(host), path, ...owner });
        }),
    },
  ];
}
