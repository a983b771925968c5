import { DeployError } from '../src/errors.ts';
import { NoAnswer } from '../src/drivers/ask.ts';
import { engineClient } from '../src/drivers/engine-client.ts';
import { LABELS, type Drivers, type Host, type Runtime, type UnitState } from '../src/drivers/types.ts';
import type { EnginePlan, HostRef, ManagedRouterPlan } from '../src/plan/types.ts';
import { signal } from './context.ts';
import { argvOf } from './engines.ts';
import { listOf, routerArgvOf, type RouterAt } from './router.ts';
import { secretOf, unitFolder } from './units.ts';
import { raw } from '../src/text/raw.ts';

export interface ConfirmHost {
  readonly ref: HostRef;
  readonly cluster: string;
  /** Every engine of the plan that has a rank on this host. */
  readonly engines: readonly EnginePlan[];
  /** Where it runs here. */
  readonly router?: ManagedRouterPlan;
  /** Image ids by reference, from the fetch step. One that is not named is not compared. */
  readonly imageIds?: Readonly<Record<string, string>>;
  /** Names of units that were replaced or removed: stopped, and there until nothing can fail any more. */
  readonly leaving?: readonly string[];
  /** SGLang's version, where the spec states it. */
  readonly version?: string;
}

export interface ConfirmRouter extends RouterAt {
  readonly engines: readonly Pick<EnginePlan, 'name' | 'role' | 'url' | 'bootstrapPort' | 'kvGeneration'>[];
}

/** Comparing what runs with the plan. */
export function createConfirmActivities(drivers: Drivers) {
  return {
    /**
     * Holds everything of this cluster on one host against the plan: units, command lines, images, roles, versions;
     * and nothing else of the cluster there. Errors: NOT_AS_PLANNED listing every difference.
     */
    async confirmHost({
      ref,
      cluster,
      engines,
      router,
      imageIds = {},
      leaving = [],
      version,
    }: ConfirmHost): Promise<void> {
      const host = drivers.host(ref, signal());
      const wanted = [
        ...(await Promise.all(engines.map((engine) => wantedEngine(host, cluster, engine)))),
        ...(router ? [await wantedRouter(host, cluster, router)] : []),
      ];
      const runtimes = new Set(wanted.map(({ runtime }) => runtime));
      const found = await unitsOf(host, cluster, runtimes);
      const differences = wanted.flatMap((unit) =>
        compareUnit(
          unit,
          found.find(({ name }) => name === unit.name),
          imageIds,
        ),
      );
      for (const { name, running } of found) {
        if (wanted.some((unit) => unit.name === name) || (leaving.includes(name) && !running)) continue;
        differences.push(`${name} is there${running ? ' and runs' : ''}, and not in the plan`);
      }
      for (const engine of engines.filter((row) => row.host === ref.name)) {
        differences.push(...(await compareAnswers(drivers, host, engine, version)));
      }
      if (differences.length > 0) throw notAsPlanned(ref.name, differences);
    },

    /** Holds the router's list against the plan: exactly these engines, ready, under their key. Errors: NOT_AS_PLANNED, ROUTER_FAILED. */
    async confirmRouter({ engines, ...at }: ConfirmRouter): Promise<void> {
      const listed = await listOf(drivers, at);
      const differences = engines.flatMap(({ name, url, role, bootstrapPort, kvGeneration }) => {
        const entry = listed.find((row) => row.url === url);
        if (!entry) return [`${name} (${url}) is not listed`];
        return [
          ...differs(`${name} is listed with role`, entry.role, role),
          ...differs(`${name} is listed with bootstrap port`, entry.bootstrapPort, bootstrapPort),
          ...(at.router.pairingKeys ? differs(`${name} is listed with key`, entry.pairingKey, kvGeneration) : []),
          ...(entry.ready ? [] : [`${name} is listed as ${entry.status}, wanted ready`]),
        ];
      });
      // Others may share an external router; the plan knows only its own engines there.
      const strangers =
        at.router.kind === 'managed' ? listed.filter((row) => !engines.some(({ url }) => url === row.url)) : [];
      differences.push(...strangers.map(({ url, role }) => `${url} (${role}) is listed and not in the plan`));
      if (differences.length > 0)
        throw notAsPlanned(at.router.kind === 'managed' ? at.router.host : at.router.url, differences);
    },
  };
}

interface WantedUnit {
  readonly name: string;
  readonly runtime: Runtime['kind'];
  readonly digest: string;
  readonly image?: string;
  readonly argv: readonly string[];
}

async function wantedEngine(host: Host, cluster: string, engine: EnginePlan): Promise<WantedUnit> {
  const rank = engine.ranks.find((row) => row.host === host.ref.name);
  if (!rank) throw new Error(`${engine.name} has no rank on ${host.ref.name}`);
  const { name, runtime, digest, deployment } = engine;
  const folder = await unitFolder(host, { cluster, deployment, name, rank: rank.rank });
  const image = rank.container?.image;
  return { name, runtime, digest, argv: await argvOf(host, rank, folder), ...(image === undefined ? {} : { image }) };
}

async function wantedRouter(host: Host, cluster: string, router: ManagedRouterPlan): Promise<WantedUnit> {
  const { name, runtime, digest, deployment } = router;
  const folder = await unitFolder(host, { cluster, deployment, name, rank: 0 });
  const image = router.container?.image;
  return {
    name,
    runtime,
    digest,
    argv: await routerArgvOf(host, router, folder),
    ...(image === undefined ? {} : { image }),
  };
}

/** What carries the cluster's label, in both runtimes; a host on which nothing should run under one may lack it. */
async function unitsOf(
  host: Host,
  cluster: string,
  needed: ReadonlySet<Runtime['kind']>,
): Promise<readonly UnitState[]> {
  const kinds: readonly Runtime['kind'][] = ['docker', 'process'];
  const found = kinds.map(async (kind) => {
    try {
      return await host.runtime(kind).find({ [LABELS.cluster]: cluster });
    } catch (error) {
      if (!needed.has(kind) && error instanceof DeployError && error.code === 'COMMAND_FAILED') return [];
      throw error;
    }
  });
  return (await Promise.all(found)).flat();
}

function compareUnit(
  wanted: WantedUnit,
  found: UnitState | undefined,
  imageIds: Readonly<Record<string, string>>,
): string[] {
  const { name, digest, argv, image } = wanted;
  if (!found) return [`${name} is not there`];
  const imageId = image === undefined ? undefined : imageIds[image];
  return [
    ...(found.running ? [] : [`${name} does not run (exit code ${found.exitCode ?? 'unknown'})`]),
    ...differs(`${name} has digest`, found.labels[LABELS.digest], digest),
    ...differs(`${name} was started as`, JSON.stringify(found.argv), JSON.stringify(argv)),
    ...(imageId === undefined ? [] : differs(`${name} runs image`, found.imageId, imageId)),
  ];
}

/** What the engine says of itself, asked of rank 0. */
async function compareAnswers(
  drivers: Drivers,
  host: Host,
  engine: EnginePlan,
  version: string | undefined,
): Promise<string[]> {
  const { name, url, role, servedModelName, apiKey } = engine;
  const client = engineClient({ fetch: host.fetch, url, key: await secretOf(drivers, apiKey) });
  try {
    const said = await client.identity();
    return [
      ...differs(`${name} says its role is`, said.role, role),
      ...differs(`${name} serves the model as`, said.servedModelName, servedModelName),
      ...(version === undefined ? [] : differs(`${name} says its version is`, said.version, version)),
    ];
  } catch (error) {
    if (error instanceof NoAnswer) return [`${name} does not say what it is: ${error.message}`];
    throw error;
  }
}

const differs = (what: string, measured: unknown, wanted: unknown): string[] =>
  measured === wanted ? [] : [`${what} ${String(measured)}, the plan has ${String(wanted)}`];

const notAsPlanned = (host: string, differences: readonly string[]) =>
  new DeployError({
    code: 'NOT_AS_PLANNED',
    message: `${host}: ${differences.length === 1 ? differences[0] : `${differences.length} differences from the plan, the first: ${differences[0]}`}`,
    remedy:
      'Somebody changed it by hand, or a former operation left it: deploy again, or remove by hand what is not in the plan.',
    retryable: false,
    host,
    evidence: raw(differences.join('\n')),
  });
