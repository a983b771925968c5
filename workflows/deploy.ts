import { ApplicationFailure } from '@temporalio/workflow';
import { verdictOf, type Finding } from '../src/checks/check.ts';
import { demandsOf } from '../src/checks/demand.ts';
import { hostRef } from '../src/plan/host-ref.ts';
import { modelPlan } from '../src/plan/model.ts';
import { isNoop } from '../src/plan/noop.ts';
import type { EnginePlan, HostRef, Inventory, ManagedRouterPlan, Plan, RemovalPlan } from '../src/plan/types.ts';
import type { Step } from '../src/saga/saga.ts';
import type { Measured, OperationInput, OperationResult, Serving } from './messages.ts';
import { observe } from './observe.ts';
import { conduct, type Operation } from './operation.ts';
import { activitiesAt, presenceAt, type Act } from './proxies.ts';

/** Brings a cluster to what the spec says: observe → plan → diff → the step table. What fails unwinds. */
export async function deploy(input: OperationInput): Promise<OperationResult> {
  return conduct(input, async (operation) => {
    const { spec, specDigest, cluster, installation, deployment, serving } = input;
    const act = activitiesAt(spec);
    await operation.step('reach-worker', () => presenceAt(spec.site).present());
    const refs = spec.hosts.list.map((host) => hostRef(spec, host));
    const inventory = await operation.step('observe', () =>
      observe(operation.each, act, { spec, cluster, refs, model: modelPlan(spec), serving }),
    );
    const plan = await operation.step('plan', () =>
      act({ summary: `plan deployment ${deployment}` }).planDeployment({
        spec,
        inventory,
        installation,
        deployment,
        ...(serving ? { serving } : {}),
      }),
    );
    operation.warnings(plan.warnings);
    const listed = await operation.step('compare-router', () => listedBefore(act, plan));
    if (isNoop(plan) && isWired(plan, listed)) return { outcome: 'unchanged', serving: servingOf(plan, specDigest) };

    const measured: { value?: Measured } = {};
    const context: DeployContext = { input, plan, inventory, listed, act, operation, measured, ref: refsOf(plan) };
    await operation.saga(deploySteps(context));
    await operation.forward(tidySteps(context));
    return {
      outcome: 'succeeded',
      serving: servingOf(plan, specDigest),
      ...(measured.value ? { measured: measured.value } : {}),
    };
  });
}

type RouterList = Awaited<ReturnType<ReturnType<Act>['routerEngines']>>;

interface DeployContext {
  readonly input: OperationInput;
  readonly plan: Plan;
  readonly inventory: Inventory;
  /** What the router listed when the operation began: what an undo restores. */
  readonly listed: RouterList;
  readonly act: Act;
  readonly operation: Operation;
  /** Where acceptance leaves what it measured. */
  readonly measured: { value?: Measured };
  readonly ref: (host: string) => HostRef;
}

/** The step table of a deploy. An undo touches only what this deployment's number created, and restores what it removed. */
function deploySteps(context: DeployContext): readonly Step[] {
  const { plan } = context;
  const early = plan.removals.filter(({ first }) => first);
  const late = plan.removals.filter(({ first }) => !first);
  return [
    leaseGpus(context),
    checkHosts(context),
    checkLinks(context),
    ...fetchAndStage(context),
    ...retire(context, 'make-room', early),
    launch(context, 'prefill'),
    launch(context, 'decode'),
    replaceRouter(context),
    startRouter(context),
    wireEngines(context),
    accept(context),
    ...retire(context, 'retire', late),
    confirm(context),
  ];
}

/** What cannot be undone comes last and outside of the saga: what serves must not fall for what is only left over. */
function tidySteps(context: DeployContext): readonly Step[] {
  const { plan, input, act, operation, ref } = context;
  const leaving = leavingUnits(context);
  return [
    {
      name: 'remove-old',
      run: () =>
        operation.each(leaving, async (unit) => {
          await act({ summary: `remove ${unit.name} from ${unit.ref.name}` }).removeRank({
            ...unitAt(input, unit),
            ref: unit.ref,
          });
        }),
    },
    {
      name: 'release-gpus',
      run: () =>
        operation.each(plan.releases, async ({ host, pci }) => {
          await act({ summary: `release GPUs of ${host}` }).releaseGpus({
            ref: ref(host),
            pci,
            owner: { cluster: input.cluster, installation: input.installation },
          });
        }),
    },
  ];
}

function leaseGpus({ plan, input, act, operation, ref }: DeployContext): Step {
  const { cluster, installation, deployment } = input;
  const owner = { cluster, installation, deployment };
  return {
    name: 'lease-gpus',
    run: () =>
      operation.each(plan.leases, async ({ host, pci }) => {
        await act({ summary: `lease ${pci.length} GPUs of ${host}` }).leaseGpus({ ref: ref(host), pci, owner });
      }),
    undo: () =>
      operation.each(plan.leases, async ({ host, pci }) => {
        await act({ summary: `release GPUs of ${host}` }).releaseGpus({ ref: ref(host), pci, owner });
      }),
  };
}

/** Drivers, ROCm, GPUs, ports, RDMA devices: of the hosts where something starts. */
function checkHosts({ plan, input, inventory, act, operation, ref }: DeployContext): Step {
  const starting = new Set(startingRanks(plan).map(({ host }) => host));
  if (plan.router.kind === 'managed' && plan.router.action !== 'keep') starting.add(plan.router.host);
  const leases = Object.fromEntries(inventory.hosts.map((host) => [host.host, host.leases]));
  const demands = demandsOf(input.spec, plan, { leases }).filter(({ host }) => starting.has(host));
  return {
    name: 'check-rocm',
    run: async () => {
      const findings: Finding[] = [];
      await operation.each(demands, async (demand) => {
        findings.push(...(await act({ summary: `check ${demand.host}` }).checkHost({ ref: ref(demand.host), demand })));
      });
      judged(operation, findings);
    },
  };
}

/** Measured bandwidth of every new link, a round at a time, so that no NIC is in two tests. */
function checkLinks({ plan, input, act, operation, ref }: DeployContext): Step {
  const { testSeconds } = input.spec.rdma;
  return {
    name: 'check-rdma',
    run: async () => {
      const findings: Finding[] = [];
      let number = 0;
      for (const round of plan.rounds) {
        number += 1;
        const hosts = new Set(round.tests.flatMap(({ source, target }) => [source.host, target.host]));
        const summary = `measure links, round ${number} of ${plan.rounds.length}`;
        findings.push(
          ...(await act({ summary }).measureRound({
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

function judged(operation: Operation, findings: readonly Finding[]): void {
  operation.findings(findings);
  if (verdictOf(findings) !== 'fail') return;
  const failed = findings.filter(({ verdict }) => verdict === 'fail');
  const [first] = failed;
  throw ApplicationFailure.create({
    type: 'CHECK_FAILED',
    nonRetryable: true,
    message: `${failed.length} of ${findings.length} findings failed: ${[...new Set(failed.map(({ check, host, peer }) => `${check} on ${host}${peer ? ` → ${peer}` : ''}`))].slice(0, 5).join(', ')}`,
    details: [
      {
        host: first!.host,
        evidence: failed
          .slice(0, 10)
          .map(({ check, host, evidence }) => `${host} ${check}: ${evidence}`)
          .join('\n'),
        remedy: first!.remedy ?? 'See the findings.',
      },
    ],
  });
}

/** The image first: it unpacks while weights move. */
function fetchAndStage({ plan, input, act, operation, ref }: DeployContext): readonly Step[] {
  const { spec, cluster, installation, deployment } = input;
  const model = {
    ...(spec.model.token ? { token: spec.model.token } : {}),
    ...(spec.model.endpoint ? { endpoint: spec.model.endpoint } : {}),
  };
  const owner = { cluster, installation, deployment };
  return [
    {
      name: 'fetch-image',
      run: async () => {
        for (const { reference, hosts } of plan.images) {
          const ids: Record<string, string> = {};
          await operation.each(hosts, async (host) => {
            ids[host] = (
              await act({ summary: `image ${reference} on ${host}`, minutes: LONG }).fetchImage({
                ref: ref(host),
                reference,
                pull: spec.engine.pull,
              })
            ).id;
          });
          await act({ summary: `one ${reference} on all hosts` }).compareImages({ reference, ids });
          operation.images[reference] = Object.values(ids)[0]!;
        }
      },
    },
    {
      name: 'stage-weights',
      run: async () => {
        if (plan.staging.length === 0) return;
        const source = await act({ summary: 'resolve the revision' }).pinSource({ source: spec.model.source, model });
        await operation.each(plan.staging, async (staging) => {
          await act({ summary: `weights on ${staging.host}`, minutes: LONG }).stageWeights({
            ref: ref(staging.host),
            staging: { ...staging, source },
            model,
            ...owner,
          });
        });
      },
      undo: () =>
        operation.each(plan.staging, async (staging) => {
          await act({ summary: `drop partial weights on ${staging.host}` }).dropPartial({
            ref: ref(staging.host),
            staging,
            ...owner,
          });
        }),
    },
  ];
}

/** Copying a model of a terabyte and fetching an image may take hours; both heartbeat. */
const LONG = 24 * 60;
/** What an activity may take beyond the limit it keeps itself, in minutes. */
const SLACK = 5;
const minutesOf = (seconds: number): number => Math.ceil(seconds / 60) + SLACK;

function launch({ plan, input, act, operation, ref }: DeployContext, role: EnginePlan['role']): Step {
  const { cluster, installation } = input;
  const engines = plan[role].filter(({ action }) => action !== 'keep');
  const ranks = startingRanks(plan).filter(({ engine }) => engine.role === role);
  return {
    name: `start-${role}`,
    run: async () => {
      await operation.each(ranks, async ({ engine, rank, host }) => {
        const image = engine.ranks.find((row) => row.rank === rank)?.container?.image;
        const imageId = image === undefined ? undefined : operation.images[image];
        await act({ summary: `start ${engine.name}${rank > 0 ? ` rank ${rank}` : ''} on ${host}` }).startRank({
          ref: ref(host),
          engine,
          rank,
          cluster,
          installation,
          ...(imageId === undefined ? {} : { imageId }),
        });
      });
      await operation.each(engines, async (engine) => {
        const refs = engine.ranks.map(({ host }) => ref(host));
        await act({ summary: `await ${engine.name}`, minutes: minutesOf(engine.readyTimeoutSeconds) }).awaitEngine({
          refs,
          engine,
          cluster,
          installation,
        });
      });
    },
    undo: () =>
      operation.each(ranks, async ({ engine, rank, host }) => {
        await removeUnit(act, { ...unitAt(input, { ...engine, rank }), ref: ref(host) }, engine.stopTimeoutSeconds);
      }),
  };
}

async function removeUnit(
  act: Act,
  unit: Parameters<ReturnType<Act>['removeRank']>[0],
  timeoutSeconds: number,
): Promise<void> {
  const summary = `remove ${unit.name} from ${unit.ref.name}`;
  await act({ summary, minutes: minutesOf(timeoutSeconds) }).stopRank({ ...unit, timeoutSeconds });
  await act({ summary }).removeRank(unit);
}

function startRouter({ plan, input, act, operation, ref }: DeployContext): Step {
  const { router } = plan;
  if (router.kind === 'external' || router.action === 'keep') return { name: 'start-router', run: async () => {} };
  const at = { ref: ref(router.host), router, cluster: input.cluster, installation: input.installation };
  const unit = { ...unitAt(input, { ...router, rank: 0 }), ref: at.ref };
  return {
    name: 'start-router',
    run: async () => {
      const imageId = router.container && operation.images[router.container.image];
      await act({ summary: `start ${router.name} on ${router.host}` }).startRouter({
        ...at,
        ...(imageId ? { imageId } : {}),
      });
      await act({ summary: `await ${router.name}`, minutes: minutesOf(router.readyTimeoutSeconds) }).awaitRouter(at);
    },
    undo: () => removeUnit(act, unit, ROUTER_STOP_S),
  };
}

const ROUTER_STOP_S = 30;

/** Registers every engine of the plan that is not listed under its key, kept ones included: a router may have lost its list. */
function wireEngines({ plan, listed, input, act, operation, ref }: DeployContext): Step {
  const { router, kvGeneration } = plan;
  const missing = enginesOf(plan).filter((engine) => !isListed(engine, plan, listed));
  const at = { router, ...routerRef(plan, ref) };
  return {
    name: 'wire-router',
    run: () =>
      operation.each(missing, async (engine) => {
        await act({ summary: `register ${engine.name}` }).wireEngine({
          ...at,
          engine,
          ref: ref(engine.host),
          kvGeneration,
        });
      }),
    undo: () =>
      operation.each(missing, async (engine) => {
        // One that was listed before, under another key, goes back to it; a new one goes.
        const before = listed.find(({ url }) => url === engine.url);
        if (before && engine.action === 'keep') {
          await act({ summary: `register ${engine.name} as before` }).rewireEngine({
            ...at,
            engine,
            ref: ref(engine.host),
            kvGeneration: before.pairingKey ?? kvGeneration,
          });
        } else {
          await unwire(act, {
            ...at,
            engine,
            ref: ref(engine.host),
            drainTimeoutSeconds: input.spec.upgrade.drainTimeoutSeconds,
          });
        }
      }),
  };
}

const unwire = (act: Act, at: Parameters<ReturnType<Act>['unwireEngine']>[0]) =>
  act({ summary: `take ${at.engine.name} out of routing`, minutes: minutesOf(at.drainTimeoutSeconds) }).unwireEngine(
    at,
  );

/** Every new pair answers by itself; then every new engine through the router, measured. */
function accept({ plan, input, act, operation, ref, measured }: DeployContext): Step {
  const { acceptance, engine: common } = input.spec;
  const engines = enginesOf(plan);
  const asked = (name: string) => {
    const engine = engines.find((row) => row.name === name)!;
    return { engine, ref: ref(engine.host) };
  };
  return {
    name: 'accept',
    run: async () => {
      await operation.each(plan.pairs, async ({ prefill, decode }) => {
        await act({
          summary: `${prefill} and ${decode} answer together`,
          minutes: minutesOf(4 * acceptance.timeoutSeconds),
        }).acceptPair({
          prefill: asked(prefill),
          decode: asked(decode),
          model: plan.model.id,
          timeoutSeconds: acceptance.timeoutSeconds,
        });
      });
      const { load } = await act({ summary: 'requests through the router', minutes: 60 }).acceptRouted({
        router: plan.router,
        ...routerRef(plan, ref),
        model: plan.model.id,
        acceptance,
        engines: engines.filter(({ action }) => action !== 'keep').map(({ name }) => asked(name)),
        ...(common.apiKey ? { engineKey: common.apiKey } : {}),
      });
      measured.value = {
        requests: load.requests,
        ttftMs: load.ttftMs,
        itlMs: load.itlMs,
        tokensPerSecond: load.outputTokensPerSecond,
      };
    },
  };
}

/** Takes units out of routing and stops them. They stay on their hosts, stopped, until nothing can fail any more. */
function retire(
  context: DeployContext,
  name: 'make-room' | 'retire',
  removals: readonly RemovalPlan[],
): readonly Step[] {
  const { plan, input, listed, act, operation, ref } = context;
  const { spec } = input;
  const at = { router: plan.router, ...routerRef(plan, ref) };
  const routed = removals.flatMap((removal) => {
    const entry = listed.find(({ url }) => url === removal.url);
    return entry ? [{ removal, entry, host: ref(removal.parts[0]!.host) }] : [];
  });
  const key = spec.engine.apiKey ? { apiKey: spec.engine.apiKey } : {};
  const parts = removals.flatMap((removal) =>
    removal.parts.map(({ host, rank }) => ({ ...unitAt(input, { ...removal, rank }), ref: ref(host) })),
  );
  return [
    {
      name: `${name}-unwire`,
      run: () =>
        operation.each(routed, async ({ removal, entry, host }) => {
          await unwire(act, {
            ...at,
            engine: { name: removal.name, url: entry.url, ...key },
            ref: host,
            drainTimeoutSeconds: spec.upgrade.drainTimeoutSeconds,
            settleSeconds: spec.upgrade.settleSeconds,
          });
        }),
      undo: () =>
        operation.each(routed, async ({ removal, entry, host }) => {
          const engine = {
            name: removal.name,
            role: entry.role,
            url: entry.url,
            ...(entry.bootstrapPort === undefined ? {} : { bootstrapPort: entry.bootstrapPort }),
            ...key,
          };
          await act({ summary: `register ${removal.name} again` }).rewireEngine({
            ...at,
            engine,
            ref: host,
            kvGeneration: entry.pairingKey ?? plan.kvGeneration,
          });
        }),
    },
    stopUnits(context, `${name}-stop`, parts),
  ];
}

/** Stops units, or on undo starts them again as they were. */
function stopUnits(
  { input, act, operation }: DeployContext,
  name: string,
  units: readonly Parameters<ReturnType<Act>['restartRank']>[0][],
): Step {
  const timeoutSeconds = input.spec.engine.stopTimeoutSeconds;
  return {
    name,
    run: () =>
      operation.each(units, async (unit) => {
        await act({ summary: `stop ${unit.name} on ${unit.ref.name}`, minutes: minutesOf(timeoutSeconds) }).stopRank({
          ...unit,
          timeoutSeconds,
        });
      }),
    undo: () =>
      operation.each(units, async (unit) => {
        await act({ summary: `start ${unit.name} on ${unit.ref.name} again` }).restartRank(unit);
      }),
  };
}

/**
 * A router that is replaced frees its port before the new one starts, which interrupts serving, as the plan says. On
 * undo the old one is started again and told its engines, since it forgets them.
 */
function replaceRouter(context: DeployContext): Step {
  const { plan, input, act, operation, ref } = context;
  const { router } = plan;
  const replaced = router.kind === 'managed' ? router.replaces : [];
  const units = leavingUnits(context)
    .filter(({ name, running }) => running && replaced.includes(name))
    .map((unit) => ({ ...unitAt(input, unit), ref: unit.ref }));
  const step = stopUnits(context, 'stop-old-router', units);
  const { serving } = input;
  const before = enginesOf(plan).filter(({ url }) => serving?.engines.some((engine) => engine.url === url));
  return {
    ...step,
    undo: async () => {
      await step.undo?.();
      if (units.length === 0 || !serving) return;
      await operation.each(before, async (engine) => {
        await act({ summary: `register ${engine.name} again` }).rewireEngine({
          router: { ...router, url: serving.router.url },
          ...routerRef(plan, ref),
          engine,
          ref: ref(engine.host),
          kvGeneration: serving.kvGeneration,
        });
      });
    },
  };
}

/** What runs, held against the plan: nothing is taken for done because a step said so. */
function confirm(context: DeployContext): Step {
  const { plan, input, act, operation, ref } = context;
  const engines = enginesOf(plan);
  const { router } = plan;
  const leaving = [...new Set(leavingUnits(context).map(({ name }) => name))];
  const hosts = plan.hosts.filter(
    ({ name }) =>
      engines.some((engine) => engine.ranks.some(({ host }) => host === name)) ||
      (router.kind === 'managed' && router.host === name),
  );
  return {
    name: 'confirm',
    run: async () => {
      await operation.each(hosts, async ({ name }) => {
        await act({ summary: `compare ${name} with the plan` }).confirmHost({
          ref: ref(name),
          cluster: input.cluster,
          engines: engines.filter((engine) => engine.ranks.some(({ host }) => host === name)),
          ...(router.kind === 'managed' && router.host === name ? { router } : {}),
          imageIds: operation.images,
          leaving,
        });
      });
      await act({ summary: 'compare the router’s list with the plan' }).confirmRouter({
        router,
        ...routerRef(plan, ref),
        engines,
        kvGeneration: plan.kvGeneration,
      });
    },
  };
}

// ---- Leaves

const enginesOf = (plan: Plan): readonly EnginePlan[] => [...plan.prefill, ...plan.decode];

const startingRanks = (plan: Plan) =>
  enginesOf(plan)
    .filter(({ action }) => action !== 'keep')
    .flatMap((engine) => engine.ranks.map(({ rank, host }) => ({ engine, rank, host })));

function refsOf(plan: Plan): (host: string) => HostRef {
  const refs = new Map(plan.hosts.map((host) => [host.name, host]));
  return (host) => {
    const found = refs.get(host);
    if (!found)
      throw ApplicationFailure.create({
        type: 'INTERNAL',
        nonRetryable: true,
        message: `the plan names host ${host} and does not say how to reach it`,
      });
    return found;
  };
}

const routerRef = ({ router }: Plan, ref: (host: string) => HostRef): { readonly routerRef?: HostRef } =>
  router.kind === 'managed' ? { routerRef: ref(router.host) } : {};

interface Unit {
  readonly name: string;
  readonly runtime: 'docker' | 'process';
  readonly rank: number;
  readonly deployment: number;
}

const unitAt = ({ cluster, installation }: OperationInput, { name, runtime, rank, deployment }: Unit) => ({
  name,
  runtime,
  rank,
  deployment,
  cluster,
  installation,
});

/** Every part of removed units and of those that others replace, as the hosts show them. */
function leavingUnits({
  plan,
  inventory,
  ref,
}: Pick<DeployContext, 'plan' | 'inventory' | 'ref'>): readonly (Unit & {
  readonly ref: HostRef;
  readonly running: boolean;
})[] {
  const names = new Set([...plan.removals.map(({ name }) => name), ...replacedNames(plan)]);
  return inventory.hosts.flatMap(({ host, found }) =>
    found
      .filter(({ name }) => names.has(name))
      .map(({ name, runtime, rank, deployment, running }) => ({
        name,
        runtime,
        rank,
        deployment,
        running,
        ref: ref(host),
      })),
  );
}

const replacedNames = (plan: Plan): readonly string[] => [
  ...enginesOf(plan).flatMap(({ replaces }) => replaces),
  ...(plan.router.kind === 'managed' ? plan.router.replaces : []),
];

/** What the kept router lists; nothing where it is new. */
async function listedBefore(act: Act, plan: Plan): Promise<RouterList> {
  const { router } = plan;
  if (router.kind === 'managed' && router.action !== 'keep') return [];
  return await act({ summary: 'the router’s list' }).routerEngines({ router, ...routerRef(plan, refsOf(plan)) });
}

const isListed = ({ url }: EnginePlan, { router, kvGeneration }: Plan, listed: RouterList): boolean =>
  listed.some(
    (entry) => entry.url === url && entry.ready && (!router.pairingKeys || entry.pairingKey === kvGeneration),
  );

const isWired = (plan: Plan, listed: RouterList): boolean =>
  enginesOf(plan).every((engine) => isListed(engine, plan, listed));

function servingOf(plan: Plan, specDigest: string): Serving {
  const { router } = plan;
  const holding = new Set([
    ...enginesOf(plan).flatMap(({ ranks }) => ranks.map(({ host }) => host)),
    ...(router.kind === 'managed' ? [router.host] : []),
  ]);
  return {
    deployment: plan.deployment,
    site: plan.site,
    model: plan.model.id,
    kvGeneration: plan.kvGeneration,
    specDigest,
    engines: enginesOf(plan).map(({ name, role, ranks, url, digest, runtime }) => ({
      name,
      role,
      hosts: ranks.map(({ host }) => host),
      url,
      digest,
      runtime,
    })),
    router: { url: router.url, ...(router.kind === 'managed' ? managedRouter(router) : {}) },
    hosts: plan.hosts.filter(({ name }) => holding.has(name)),
  };
}

const managedRouter = ({ name, host, runtime }: ManagedRouterPlan) => ({ name, host, runtime });
