import { DeployError } from '../src/errors.ts';
import { NoAnswer, Refused } from '../src/drivers/ask.ts';
import { engineClient } from '../src/drivers/engine-client.ts';
import { routerClient, type RouterClient, type RouterEntry } from '../src/drivers/router-client.ts';
import { LABELS, type Drivers, type Host } from '../src/drivers/types.ts';
import type { EnginePlan, HostRef, ManagedRouterPlan, RouterPlan } from '../src/plan/types.ts';
import { QUEUED_SECONDS } from '../src/sglang/router-argv.ts';
import { heartbeat, signal } from './context.ts';
import {
  containerOf,
  expandAll,
  findUnit,
  labelsOf,
  logOf,
  needFreePorts,
  pacer,
  secretOf,
  tailOf,
  unitFolder,
  unitOf,
} from './units.ts';
import { raw, type Raw } from '../src/text/raw.ts';

/** A router, and the host it runs on where Tandem runs it. */
export interface RouterAt {
  readonly router: RouterPlan;
  /** Needed for a managed router; an external one is asked from the Temporal worker. */
  readonly routerRef?: HostRef;
}

export interface StartRouter {
  readonly ref: HostRef;
  readonly router: ManagedRouterPlan;
  readonly cluster: string;
  readonly installation: string;
  /** From the fetch step; only with runtime docker. */
  readonly imageId?: string;
}

/** What the router needs to know of an engine; a row of the plan is one. */
export interface RoutedEngine extends Pick<EnginePlan, 'name' | 'url' | 'bootstrapPort' | 'apiKey'> {
  /** "prefill" or "decode". */
  readonly role: string;
}

export interface WireEngine extends RouterAt {
  readonly engine: RoutedEngine;
  /** The host of rank 0. */
  readonly ref: HostRef;
  /** Pairing key: the router lets engines meet only under equal ones. */
  readonly kvGeneration: string;
  /** Limit until it is listed ready, in seconds. Default 120. */
  readonly timeoutSeconds?: number;
}

export interface UnwireEngine extends RouterAt {
  readonly engine: Pick<RoutedEngine, 'name' | 'url' | 'apiKey'>;
  /** The host of rank 0; left out for an engine that is there no more and so has no requests of its own. */
  readonly ref?: HostRef;
  /** Longest wait for requests in flight, in seconds; then the engine goes anyway. */
  readonly drainTimeoutSeconds: number;
  /** How long it must be seen idle, in seconds. Default 0. */
  readonly settleSeconds?: number;
}

export interface Unwired {
  /** False when the limit passed first, so that `openRequests` were cut. */
  readonly drained: boolean;
  readonly openRequests: number;
}

const REGISTER_SECONDS = QUEUED_SECONDS + 10;
const REMOVE_SECONDS = 60;

/**
 * Starting the router and keeping its list. `pollMs` is the first pause between two looks, `queuedSeconds` how long the
 * router asks an engine that it is to list.
 */
export function createRouterActivities(
  drivers: Drivers,
  { pollMs = 500, queuedSeconds = QUEUED_SECONDS }: { readonly pollMs?: number; readonly queuedSeconds?: number } = {},
) {
  /** Puts an engine into the router's list, whatever the list says of it now; see `wireEngine`. */
  async function wire(input: WireEngine): Promise<void> {
    const { router, engine, ref, kvGeneration, timeoutSeconds = REGISTER_SECONDS } = input;
    const client = await clientOf(drivers, input);
    const apiKey = await secretOf(drivers, engine.apiKey);
    const itself = engineClient({ fetch: drivers.host(ref, signal()).fetch, url: engine.url, key: apiKey });
    const wanted = {
      url: engine.url,
      role: engine.role,
      ...(engine.bootstrapPort === undefined ? {} : { bootstrapPort: engine.bootstrapPort }),
      ...(router.pairingKeys ? { pairingKey: kvGeneration } : {}),
      ...(apiKey === undefined ? {} : { apiKey }),
    };
    let roleSeen = false;
    let queued: string | undefined;
    let queuedUntilMs = 0;
    let seen = 'nothing yet';
    /** Waits for the engine too: on undo it was started again a moment ago. */
    const needRole = async (): Promise<void> => {
      if (roleSeen) return;
      const { role } = await itself.identity().catch((error: unknown) => {
        throw error instanceof NoAnswer ? new NoAnswer(`the engine does not say its role: ${error.message}`) : error;
      });
      if (role !== engine.role) throw wrongRole(engine, role, ref);
      roleSeen = true;
    };
    /** One look, and the one call that brings the list nearer to what is wanted. True once it is there. */
    const converge = async (): Promise<boolean> => {
      const entry = await entryOf(client, engine.url);
      seen = entry === undefined ? 'not listed' : describe(entry);
      if (entry === undefined) {
        if (Date.now() < queuedUntilMs) return false;
        const { id } = await client.add(wanted);
        if (id !== undefined) [queued, queuedUntilMs] = [id, Date.now() + queuedSeconds * 1000];
        return false;
      }
      queuedUntilMs = 0;
      if (entry.status === 'draining') return false;
      if (!isAs(entry, wanted)) await client.remove(entry.id);
      else if (router.pairingKeys && entry.pairingKey !== kvGeneration) await client.rekey(entry.id, wanted);
      else return entry.ready;
      return false;
    };
    const done = await within(timeoutSeconds, pollMs, async () => {
      const listed = await needRole()
        .then(converge)
        .catch((error: unknown) => {
          if (!(error instanceof NoAnswer)) throw error;
          if (error instanceof Refused && error.final) throw routerFailed(input, `${engine.name}: ${error.message}`);
          seen = error.message;
          return false;
        });
      heartbeat({ engine: engine.name, seen });
      return listed;
    });
    if (done) return;
    // It may be listed by now; one that is still queued smg cannot take out, and goes on with until its own limit.
    if (queued !== undefined) await client.remove(queued).catch(() => undefined);
    throw routerFailed(
      input,
      `${engine.name} (${engine.url}) was not listed ready within ${timeoutSeconds} s${router.pairingKeys ? ` under key ${kvGeneration}` : ''}; last seen: ${seen}`,
    );
  }

  return {
    /** Starts the router, or finds the one that a former attempt started. Errors: PORT_TAKEN, SECRET_MISSING, SPEC_INVALID, NAME_CONFLICT and what the runtime throws. */
    async startRouter({ ref, router, cluster, installation, imageId }: StartRouter): Promise<void> {
      const host = drivers.host(ref, signal());
      const unit = unitOf(router, { cluster, installation });
      if (await findUnit(host, unit)) return;
      await needFreePorts(host, portsOf(router), router.name, 'router.port');
      const folder = await unitFolder(host, { ...unit, rank: 0 });
      const secrets = await secretArgs(drivers, router);
      if (secrets.length > 0) await host.writeFile(secretsFile(folder), JSON.stringify(secrets), { mode: 0o600 });
      await host.runtime(router.runtime).start({
        name: router.name,
        labels: labelsOf(
          { ...router, kind: 'router', role: 'router', index: 0, rank: 0, gpus: [], nics: [] },
          { cluster, installation },
        ),
        argv: await routerArgvOf(host, router, folder),
        env: router.env,
        stopTimeoutSeconds: ROUTER_STOP_SECONDS,
        ...(router.container
          ? {
              container: await containerOf(
                host,
                router.container,
                imageId,
                secrets.length > 0 ? [secretsFile(folder)] : [],
              ),
            }
          : {}),
      });
    },

    /** Waits until the router that was started here gives its list to whoever has its key. Errors: ROUTER_FAILED with its log. */
    async awaitRouter({ ref, router, cluster, installation }: StartRouter): Promise<void> {
      const host = drivers.host(ref, signal());
      const unit = unitOf(router, { cluster, installation });
      const client = await clientOf(drivers, { router, routerRef: ref });
      let seen = 'nothing yet';
      const fail = async (what: string) => {
        const log = await logOf(host.runtime(router.runtime), router.name, 200);
        const secrets = [await secretOf(drivers, router.apiKey), await secretOf(drivers, router.adminKey)];
        return routerFailed({ router }, `${router.name} on ${router.host} ${what}`, {
          evidence: tailOf(
            log ?? raw(''),
            secrets.filter((secret) => secret !== undefined),
          ),
        });
      };
      const answered = await within(router.readyTimeoutSeconds, pollMs, async () => {
        const listed = await client.list().then(
          () => true,
          (error: unknown) => {
            if (!(error instanceof NoAnswer)) throw error;
            seen = error.message;
            return false;
          },
        );
        heartbeat({ router: router.name, seen });
        // Asked after the list, so that an answer by another process on the port does not count.
        const state = await findUnit(host, unit);
        if (!state?.running)
          throw await fail(`ended with exit code ${state?.exitCode ?? 'unknown'} before it answered`);
        return listed;
      });
      if (!answered)
        throw await fail(
          `did not answer within router.readyTimeoutSeconds (${router.readyTimeoutSeconds}); last seen: ${seen}`,
        );
    },

    /**
     * Registers an engine under its pairing key and waits until it is listed ready under it; `/readiness` of a router
     * is 200 also when no two engines may meet. The engine itself must say the role first: a router believes the wrong
     * one, and every request then hangs. Listed already, also under another key or being removed, is fine: this is
     * the undo of `unwireEngine` too. Errors: ENGINE_WRONG, ROUTER_FAILED.
     */
    wireEngine: wire,

    /** The undo of `unwireEngine`: back into the list under the given key. Errors: as wireEngine. */
    rewireEngine: wire,

    /**
     * Takes an engine out of routing without cutting a request: no new ones first (a pairing key that nobody else has),
     * then the wait for those in flight, by the router's count and the engine's own, then out of the list. Not listed,
     * and a router or engine that does not run any more, are fine. Errors: ROUTER_FAILED.
     */
    async unwireEngine(input: UnwireEngine): Promise<Unwired> {
      const { router, engine, drainTimeoutSeconds, settleSeconds = 0 } = input;
      const client = await clientOf(drivers, input);
      const open = await openRequestsOf(drivers, input);
      const drain = async (openAtRouter: (entry: RouterEntry | undefined) => number | undefined): Promise<Unwired> => {
        let openRequests = 0;
        let idleSince: number | undefined;
        const drained = await within(drainTimeoutSeconds, pollMs, async () => {
          const atRouter = openAtRouter(await entryOf(client, engine.url));
          // Undefined: the cordon is not in force yet.
          openRequests = Math.max(atRouter ?? 1, await open());
          heartbeat({ engine: engine.name, openRequests });
          idleSince = openRequests > 0 ? undefined : (idleSince ?? Date.now());
          return idleSince !== undefined && Date.now() - idleSince >= settleSeconds * 1000;
        });
        return { drained, openRequests: drained ? 0 : openRequests };
      };
      try {
        const entry = await entryOf(client, engine.url);
        if (entry === undefined) return await drain(() => 0);
        const cordon = `cordon-${engine.name}`;
        const cordoned = router.pairingKeys && (await client.rekey(entry.id, { pairingKey: cordon }));
        const early = cordoned
          ? await drain((now) => (now === undefined ? 0 : now.pairingKey === cordon ? now.load : undefined))
          : undefined;
        await client.remove(entry.id);
        const out = await within(REMOVE_SECONDS, pollMs, async () => (await entryOf(client, engine.url)) === undefined);
        if (!out)
          throw routerFailed(
            input,
            `${engine.name} (${engine.url}) was still listed ${REMOVE_SECONDS} s after its removal`,
          );
        return early ?? (await drain(() => 0));
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        if (await isDown(drivers, input)) return { drained: true, openRequests: 0 };
        const retryable = !(error instanceof Refused && error.final);
        throw routerFailed(input, `unwiring ${engine.name}: ${error.message}`, { retryable });
      }
    },

    /** The list as the router sees it. Errors: ROUTER_FAILED. */
    async routerEngines(at: RouterAt): Promise<readonly RouterEntry[]> {
      return await listOf(drivers, at);
    },
  };
}

/** The list as the router sees it. Errors: ROUTER_FAILED. */
export async function listOf(drivers: Drivers, at: RouterAt): Promise<readonly RouterEntry[]> {
  const client = await clientOf(drivers, at);
  try {
    return await client.list();
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    throw routerFailed(at, error.message, { retryable: !(error instanceof Refused && error.final) });
  }
}

/** Where requests for this router start, and its URL and key for clients. */
export function fetchOf(drivers: Drivers, { router, routerRef }: RouterAt) {
  if (router.kind === 'external') return drivers.fetch;
  if (!routerRef) throw new Error(`no address given for the host of ${router.name}`);
  return drivers.host(routerRef, signal()).fetch;
}

async function clientOf(drivers: Drivers, at: RouterAt): Promise<RouterClient> {
  const { url, adminKey, apiKey } = at.router;
  return routerClient({ fetch: fetchOf(drivers, at), url, key: await secretOf(drivers, adminKey ?? apiKey) });
}

async function entryOf(client: RouterClient, url: string): Promise<RouterEntry | undefined> {
  return (await client.list()).find((entry) => entry.url === url);
}

const isAs = (entry: RouterEntry, { role, bootstrapPort }: Pick<RoutedEngine, 'role' | 'bootstrapPort'>) =>
  entry.role === role && (bootstrapPort === undefined || entry.bootstrapPort === bootstrapPort);

const describe = ({ role, status, ready, pairingKey }: RouterEntry) =>
  `listed as ${role}, ${status}${ready || status !== 'ready' ? '' : ' but unhealthy'}${pairingKey === undefined ? '' : `, key ${pairingKey}`}`;

const wrongRole = ({ name, url, role: wanted }: RoutedEngine, role: string, { name: host }: HostRef) =>
  new DeployError({
    code: 'ENGINE_WRONG',
    message: `${name} (${url}) says its role is "${role}", it would be registered as "${wanted}"`,
    remedy: `Check --disaggregation-mode in engine.args and ${wanted}.args.`,
    retryable: false,
    host,
  });

/** Requests that the engine has by its own count. One that refuses connections or is gone has none any more. */
async function openRequestsOf(drivers: Drivers, { engine, ref }: UnwireEngine): Promise<() => Promise<number>> {
  if (!ref) return () => Promise.resolve(0);
  const key = await secretOf(drivers, engine.apiKey);
  const client = engineClient({ fetch: drivers.host(ref, signal()).fetch, url: engine.url, key });
  return async () => {
    try {
      return await client.openRequests();
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      return error.message === 'connection refused' ? 0 : 1;
    }
  };
}

/** True when Tandem runs this router and its unit has ended: then it has no list any more. */
async function isDown(drivers: Drivers, { router, routerRef }: RouterAt): Promise<boolean> {
  if (router.kind === 'external' || !routerRef) return false;
  const units = await drivers
    .host(routerRef, signal())
    .runtime(router.runtime)
    .find({ [LABELS.digest]: router.digest, [LABELS.deployment]: String(router.deployment) });
  return !units.some(({ name, running }) => name === router.name && running);
}

/** Looks until `look` says true or the limit has passed; at least once. */
async function within(seconds: number, pollMs: number, look: () => Promise<boolean>): Promise<boolean> {
  const until = Date.now() + seconds * 1000;
  const pause = pacer(pollMs);
  for (;;) {
    if (await look()) return true;
    if (Date.now() >= until) return false;
    await pause();
  }
}

function routerFailed(
  { router }: RouterAt,
  message: string,
  { evidence, retryable = false }: { readonly evidence?: Raw; readonly retryable?: boolean } = {},
): DeployError {
  return new DeployError({
    code: 'ROUTER_FAILED',
    message: `router ${router.url}: ${message}`,
    remedy:
      router.kind === 'managed'
        ? `See its log (\`tandem logs\`), router.args and router.port; it runs on ${router.host}.`
        : 'Check that router.external.url is reachable and that its keys are right.',
    retryable,
    ...(router.kind === 'managed' ? { host: router.host } : {}),
    ...(evidence === undefined || evidence === '' ? {} : { evidence }),
  });
}

// ---- The command line

const ROUTER_STOP_SECONDS = 30;

const secretsFile = (folder: string) => `${folder}/args.json`;

/**
 * Runs a module as `python -m` would, with further arguments from a file. smg takes its keys only as arguments, and a
 * process list shows those to everybody: so they are added inside the process.
 */
const LAUNCHER = [
  'import json, runpy, sys',
  'module, path = sys.argv[1:3]',
  'sys.argv = [module] + sys.argv[3:] + json.load(open(path))',
  'runpy.run_module(module, run_name="__main__", alter_sys=True)',
].join('\n');

/** The command line of the router as its host runs it; keys, where there are any, stand in a file of `folder`. */
export async function routerArgvOf(host: Host, router: ManagedRouterPlan, folder: string): Promise<string[]> {
  const argv = await expandAll(host, router.argv);
  if (!router.apiKey && !router.adminKey) return argv;
  const [python, flag, module, ...args] = argv;
  if (python === undefined || flag !== '-m' || module === undefined) {
    throw new DeployError({
      code: 'SPEC_INVALID',
      message: `router.command is [${argv.slice(0, 3).join(', ')}, …]: with keys it must be a Python, -m and a module`,
      remedy: 'Set router.command to [python3, -m, smg.launch_router], or leave router.apiKey and router.adminKey out.',
      retryable: false,
      host: router.host,
    });
  }
  return [python, '-c', LAUNCHER, module, secretsFile(folder), ...args];
}

async function secretArgs(drivers: Drivers, { apiKey, adminKey }: ManagedRouterPlan): Promise<string[]> {
  const client = await secretOf(drivers, apiKey);
  const admin = await secretOf(drivers, adminKey);
  return [
    ...(client === undefined ? [] : [`--api-key=${client}`]),
    ...(admin === undefined ? [] : [`--control-plane-api-keys=tandem:tandem:admin:${admin}`]),
  ];
}

/** smg serves its metrics on a port of its own. */
function portsOf({ port, argv }: ManagedRouterPlan): number[] {
  const metrics = Number(argv[argv.indexOf('--prometheus-port') + 1]);
  return argv.includes('--prometheus-port') && Number.isInteger(metrics) ? [port, metrics] : [port];
}
