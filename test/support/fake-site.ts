import { ApplicationFailure } from '@temporalio/common';
import type { Activities } from '../../activities/index.ts';
import { planDestroy } from '../../src/plan/destroy.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { EnginePlan, FoundUnit, Lease, ManagedRouterPlan } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { anInventory } from './inventories.ts';

type Name = keyof Activities;

/** What a test does to an activity: `before` it acts, `after` it acted, on calls that `on` says yes to. */
export interface Fault {
  readonly activity: Name;
  readonly when: 'before' | 'after';
  readonly on?: (input: never, call: number) => boolean;
  readonly times?: number;
}

interface Entry {
  url: string;
  role: 'prefill' | 'decode';
  pairingKey: string;
  ready: boolean;
}

/**
 * Hosts that only exist as state, behind the activities' own interface: what the workflows do to them is real, and
 * `picture()` says what is there.
 */
export function fakeSite(spec: ClusterSpec) {
  const units = new Map<string, FoundUnit>(); // By "host/name".
  const leases = new Map<string, Lease>(); // By "host/pci".
  const routed = new Map<string, Entry>(); // By URL; lost when the router ends.
  const calls: { readonly activity: Name; readonly input: unknown }[] = [];
  const faults: (Fault & { hits: number })[] = [];
  /** Resolves waits: a test holds an activity here. */
  const gates = new Map<Name, Promise<void>>();

  const unitRow = (host: string, engine: EnginePlan, rank: number, installation: string): FoundUnit => ({
    name: engine.name,
    kind: 'engine',
    runtime: engine.runtime,
    role: engine.role,
    index: engine.index,
    rank,
    gpus: engine.ranks.find((row) => row.host === host)!.gpus.map(({ index }) => index),
    nics: engine.ranks.find((row) => row.host === host)!.nics,
    digest: engine.digest,
    deployment: engine.deployment,
    installation,
    ...(rank === 0 ? { url: engine.url } : {}),
    running: true,
  });
  const setRunning = (host: string, name: string, running: boolean) => {
    const unit = units.get(`${host}/${name}`);
    if (unit) units.set(`${host}/${name}`, { ...unit, running });
    if (unit?.kind === 'router' && !running) routed.clear();
  };

  const activities: Partial<Activities> = {
    async present() {},
    async observeHost({ ref }) {
      const healthy = anInventory(spec).hosts.find(({ host }) => host === ref.name) ?? {
        host: ref.name,
        gpus: [],
        nics: [],
        providerLibraries: [],
        leases: [],
        found: [],
        weights: [],
      };
      const here = <T>(map: Map<string, T>) =>
        [...map].filter(([key]) => key.startsWith(`${ref.name}/`)).map(([, value]) => value);
      return { ...healthy, leases: here(leases), found: here(units), weights: [] };
    },
    async planDeployment(input) {
      return planCluster(input);
    },
    async planDestruction(input) {
      return planDestroy(input);
    },
    async leaseGpus({ ref, pci, owner }) {
      for (const one of pci)
        if (!leases.has(`${ref.name}/${one}`)) leases.set(`${ref.name}/${one}`, { pci: one, ...owner });
    },
    async releaseGpus({ ref, pci, owner }) {
      for (const one of pci) {
        const held = leases.get(`${ref.name}/${one}`);
        if (
          held?.installation === owner.installation &&
          (owner.deployment === undefined || held.deployment === owner.deployment)
        )
          leases.delete(`${ref.name}/${one}`);
      }
    },
    async checkHost({ demand }) {
      return [
        { check: 'gpu-driver', host: demand.host, verdict: 'pass', evidence: 'driver 6.12, rocm.driver is >=6.10' },
      ];
    },
    async measureRound({ round }) {
      return round.tests.map(({ source, target }) => ({
        check: 'rdma-bandwidth',
        host: source.host,
        peer: target.host,
        verdict: 'pass' as const,
        evidence: '391 Gb/s measured, 360 wanted',
      }));
    },
    async fetchImage({ reference }) {
      return { id: `sha256:${reference}` };
    },
    async compareImages() {},
    async pinSource({ source }) {
      return source;
    },
    async stageWeights() {
      return { bytes: 1, files: 1, reused: false };
    },
    async dropPartial() {
      return {};
    },
    async startRank({ ref, engine, rank, installation }) {
      units.set(`${ref.name}/${engine.name}`, unitRow(ref.name, engine, rank, installation));
    },
    async awaitEngine({ engine }) {
      return { name: engine.name, startSeconds: 1, version: '0.5.23' };
    },
    async stopRank({ ref, name }) {
      setRunning(ref.name, name, false);
    },
    async restartRank({ ref, name }) {
      setRunning(ref.name, name, true);
    },
    async removeRank({ ref, name }) {
      units.delete(`${ref.name}/${name}`);
    },
    async startRouter({ ref, router, installation }) {
      units.set(`${ref.name}/${router.name}`, routerRow(router, installation));
    },
    async awaitRouter() {},
    async wireEngine({ engine, kvGeneration }) {
      routed.set(engine.url, {
        url: engine.url,
        role: engine.role as Entry['role'],
        pairingKey: kvGeneration,
        ready: true,
      });
    },
    async rewireEngine({ engine, kvGeneration }) {
      routed.set(engine.url, {
        url: engine.url,
        role: engine.role as Entry['role'],
        pairingKey: kvGeneration,
        ready: true,
      });
    },
    async unwireEngine({ engine }) {
      routed.delete(engine.url);
      return { drained: true, openRequests: 0 };
    },
    async routerEngines() {
      return [...routed.values()].map((entry) => ({ id: entry.url, load: 0, status: 'ready', ...entry }));
    },
    async acceptPair({ prefill, decode }) {
      return { prefill: prefill.engine.name, decode: decode.engine.name, completionMs: 1, streamTtftMs: 1 };
    },
    async acceptRouted({ engines }) {
      const percentiles = { p50: 1, p90: 2, p95: 2, p99: 3, max: 3 };
      return {
        firstTtftMs: 1,
        seen: engines.map(({ engine }) => engine.name),
        load: {
          requests: 200,
          concurrency: 8,
          seconds: 1,
          requestsPerSecond: 200,
          outputTokensPerSecond: 6400,
          ttftMs: percentiles,
          itlMs: percentiles,
        },
      };
    },
    async confirmHost() {},
    async confirmRouter() {},
  };

  const wrapped = Object.fromEntries(
    Object.entries(activities).map(([activity, act]) => [
      activity,
      async (input: never) => {
        const name = activity as Name;
        calls.push({ activity: name, input });
        const due = (when: Fault['when']) =>
          faults.find(
            (fault) =>
              fault.activity === name &&
              fault.when === when &&
              (fault.on?.(input, fault.hits) ?? true) &&
              fault.hits++ < (fault.times ?? Infinity),
          );
        if (due('before')) throw injected(name);
        await gates.get(name);
        const value = await (act as (input: never) => Promise<unknown>)(input);
        if (due('after')) throw injected(name);
        return value;
      },
    ]),
  ) as unknown as Activities;

  return {
    activities: wrapped,
    calls,
    units,
    leases,
    routed,
    fail: (fault: Fault) => void faults.push({ ...fault, hits: 0 }),
    heal: () => void faults.splice(0),
    gates,
    /** Everything that is there, as text, in an order of its own: two pictures are equal when nothing differs. */
    picture: () => ({
      units: [...units].map(([key, { running }]) => `${key} ${running ? 'runs' : 'ended'}`).sort(),
      leases: [...leases].map(([key, { cluster, deployment }]) => `${key} ${cluster} ${deployment}`).sort(),
      routed: [...routed.values()].map(({ url, pairingKey }) => `${url} ${pairingKey}`).sort(),
    }),
  };
}

const routerRow = (router: ManagedRouterPlan, installation: string): FoundUnit => ({
  name: router.name,
  kind: 'router',
  runtime: router.runtime,
  role: 'router',
  index: 0,
  rank: 0,
  gpus: [],
  digest: router.digest,
  deployment: router.deployment,
  installation,
  url: router.url,
  running: true,
});

const injected = (name: string) =>
  ApplicationFailure.create({
    type: 'COMMAND_FAILED',
    nonRetryable: true,
    message: `injected at ${name}`,
    details: [{ host: 'p0', evidence: 'injected', remedy: 'heal it' }],
  });
