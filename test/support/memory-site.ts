import { AsyncLocalStorage } from 'node:async_hooks';
import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { createActivities, type Activities } from '../../activities/index.ts';
import { DeployError } from '../../src/errors.ts';
import type { Drivers } from '../../src/drivers/types.ts';
import type { HostPicture, Kept } from '../../src/facts/host-picture.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import {
  externalFetch,
  hostDriver,
  keptOn,
  memoryHost,
  thingsOn,
  type MemoryHost,
  type Surroundings,
} from './memory-host.ts';
import { pairsOf } from './memory-http.ts';
import { memoryWeights } from './memory-weights.ts';

export type ActivityName = keyof Activities;

/** One attempt of an activity. `begun` and `ended` are numbers of one count over the whole site. */
export interface ActivityCall {
  readonly activity: ActivityName;
  /** Workflow id, "deploy/c1/2". */
  readonly operation: string;
  /** By which the workflow scheduled it: 1 is its first activity. */
  readonly id: number;
  readonly attempt: number;
  /** The host it is about; empty where it is about none. */
  readonly host: string;
  readonly input: unknown;
  readonly begun: number;
  ended?: number;
}

/** One call of a driver on one host. */
export interface DriverCall {
  readonly host: string;
  readonly method: string;
  readonly changes: boolean;
  readonly within: ActivityCall | undefined;
  readonly begun: number;
  ended?: number;
}

/**
 * What happens to an activity:
 * - `fails`, `fails-after`: for good, before it acts, or once it has acted
 * - `breaks-off`: the connection is lost right after its first change of a host
 * - `falls-silent`, `falls-silent-after`: it never ends and no heartbeat comes, so that Temporal's time-out ends it
 * - `repeats`: it acts, then fails so that Temporal runs it again
 * - `hangs`: its first call of a driver lasts, heartbeats coming, until it is cancelled, and some time longer;
 *   `hangs-itself` is for those that call no driver
 * - `waits`: it begins only once the site is released
 */
export type Misfortune =
  | 'fails'
  | 'fails-after'
  | 'breaks-off'
  | 'falls-silent'
  | 'falls-silent-after'
  | 'repeats'
  | 'hangs'
  | 'hangs-itself'
  | 'waits';

export interface Trouble {
  readonly at: (call: ActivityCall) => boolean;
  readonly what: Misfortune;
}

/** How long remote work goes on after it was told to end: an undo that does not wait for it meets it. */
const DYING_MS = 150;
const BEAT_MS = 50;

/** The activity that began last, of any site, and how long after it could. */
let newest = { atMs: 0, lateMs: 0 };
/** How late activities begin now, in milliseconds: what the machine does not keep up with. */
export const lateMs = (): number => (Date.now() - newest.atMs < FRESH_MS ? newest.lateMs : 0);
const FRESH_MS = 2_000;

/**
 * Hosts that exist only as state, behind the drivers' own interface: the real activities act on them. `picture()` says
 * what is there, `calls` and `driverCalls` what was done, and `trouble()` makes it go wrong.
 */
export class MemorySite implements Surroundings {
  readonly hosts: ReadonlyMap<string, MemoryHost>;
  readonly rooms = new Map<string, (met: void) => void>();
  readonly calls: ActivityCall[] = [];
  readonly driverCalls: DriverCall[] = [];
  readonly #driverCallsOf = new WeakMap<ActivityCall, readonly DriverCall[]>();
  readonly drivers: Drivers;
  readonly activities: Activities;
  #count = 0;
  #pids = 100;
  #troubles: Trouble[] = [];
  #watchers: (() => void)[] = [];
  readonly #within = new AsyncLocalStorage<ActivityCall>();
  #release!: () => void;
  #released = new Promise<void>((resolve) => (this.#release = resolve));

  constructor({ hosts }: Pick<ClusterSpec, 'hosts'>) {
    this.hosts = new Map(
      hosts.list.map(({ name, address, fabricAddress, gpus }) => [
        name,
        memoryHost(name, fabricAddress ?? address, gpus.count),
      ]),
    );
    this.drivers = {
      host: (ref, signal) => hostDriver(this, this.hosts.get(ref.name)!, ref, signal),
      secret: async () => 'secret',
      fetch: (url, init) => externalFetch(this, url, init),
      close: async () => {},
    };
    const real = createActivities(this.drivers, (text) => text, memoryWeights(this), { pollMs: 5 });
    this.activities = Object.fromEntries(
      Object.entries(real).map(([name, act]) => [
        name,
        (input: never) => this.#run(name as ActivityName, input, act as (input: never) => Promise<unknown>),
      ]),
    ) as unknown as Activities;
  }

  /** What goes wrong from now on; of several that fit, the first does. */
  trouble(...troubles: readonly Trouble[]): void {
    this.#troubles.push(...troubles);
  }

  /** Nothing goes wrong any more. What fell silent or waits stays so. */
  heal(): void {
    this.#troubles = [];
  }

  /** Ends what waits, also for calls that have not begun yet, and what fell silent long after Temporal gave it up. */
  release(): void {
    this.#troubles = this.#troubles.filter(({ what }) => what !== 'waits');
    this.#release();
    this.#released = new Promise((resolve) => (this.#release = resolve));
  }

  /** Calls `look` after every change of a host, until what it returns is called. */
  watch(look: () => void): () => void {
    this.#watchers.push(look);
    return () => (this.#watchers = this.#watchers.filter((other) => other !== look));
  }

  /** Everything that is there by host, but for images and complete weights; two are equal when nothing differs. */
  picture(): Readonly<Record<string, HostPicture['things']>> {
    return Object.fromEntries(
      [...this.hosts.values()]
        .map((at) => [at.name, thingsOn(at)] as const)
        .filter(([, things]) => Object.keys(things).length > 0),
    );
  }

  /** Images and complete weights by host. */
  kept(): Readonly<Record<string, readonly Kept[]>> {
    return Object.fromEntries([...this.hosts.values()].map((at) => [at.name, keptOn(at)]));
  }

  /** Whether a request would find a router and a pair of engines. */
  serves(): boolean {
    return [...this.hosts.values()].some((at) =>
      [...at.units.values()].some((unit) => unit.running && pairsOf(this, unit).length > 0),
    );
  }

  pid(): number {
    this.#pids += 1;
    return this.#pids;
  }

  async through<T>(
    { host, method, changes }: { readonly host: string; readonly method: string; readonly changes: boolean },
    signal: AbortSignal | undefined,
    act: () => T | Promise<T>,
  ): Promise<T> {
    const within = this.#within.getStore();
    const call: DriverCall = { host, method, changes, within, begun: this.#next() };
    const own = within && (this.#driverCallsOf.get(within) ?? []);
    const first = (fits: (other: DriverCall) => boolean) => own !== undefined && !own.some(fits);
    const hangs = first(() => true) && this.#due(within!, 'hangs');
    const breaksOff = changes && first((other) => other.changes) && this.#due(within!, 'breaks-off');
    this.driverCalls.push(call);
    if (within) this.#driverCallsOf.set(within, [...own!, call]);
    try {
      signal?.throwIfAborted();
      if (hangs) await this.#untilCancelled(signal);
      const value = await act();
      if (changes) for (const look of this.#watchers) look();
      if (breaksOff) throw connectionLost(host, method);
      return value;
    } finally {
      call.ended = this.#next();
    }
  }

  async #run(activity: ActivityName, input: never, act: (input: never) => Promise<unknown>): Promise<unknown> {
    const { activityId, attempt, workflowExecution, currentAttemptScheduledTimestampMs } = Context.current().info;
    newest = { atMs: Date.now(), lateMs: Date.now() - currentAttemptScheduledTimestampMs };
    const call: ActivityCall = {
      activity,
      operation: workflowExecution!.workflowId,
      id: Number(activityId),
      attempt,
      host: hostOf(input),
      input,
      begun: this.#next(),
    };
    this.calls.push(call);
    try {
      return await this.#within.run(call, () => this.#suffer(call, () => act(input)));
    } finally {
      call.ended = this.#next();
    }
  }

  async #suffer(call: ActivityCall, act: () => Promise<unknown>): Promise<unknown> {
    switch (this.#troubles.find(({ at }) => at(call))?.what) {
      case 'fails':
        throw injected(call);
      case 'fails-after':
        await act();
        throw injected(call);
      case 'falls-silent':
        await this.#released;
        throw injected(call);
      case 'falls-silent-after':
        await act();
        await this.#released;
        throw injected(call);
      case 'repeats': {
        const value = await act();
        if (call.attempt === 1) throw injected(call, false);
        return value;
      }
      case 'hangs-itself':
        await this.#untilCancelled(Context.current().cancellationSignal);
        break;
      case 'waits':
        await this.#released;
        break;
    }
    return await act();
  }

  #due(call: ActivityCall, what: Misfortune): boolean {
    return this.#troubles.find(({ at }) => at(call))?.what === what;
  }

  async #untilCancelled(signal: AbortSignal | undefined): Promise<void> {
    if (!signal) throw new Error('this call cannot be cancelled: the activity gave no signal to it');
    const context = Context.current();
    const beat = setInterval(() => context.heartbeat(), BEAT_MS);
    try {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await new Promise((resolve) => setTimeout(resolve, DYING_MS));
      throw signal.reason;
    } finally {
      clearInterval(beat);
    }
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }
}

/** The host that an activity's input is about: its own, the router's, or that of a finding or a round. */
function hostOf(input: unknown): string {
  const { ref, routerRef, refs } = (input ?? {}) as {
    ref?: { name: string };
    routerRef?: { name: string };
    refs?: readonly { name: string }[];
  };
  return ref?.name ?? routerRef?.name ?? refs?.[0]?.name ?? '';
}

const injected = ({ activity, host }: ActivityCall, nonRetryable = true) =>
  ApplicationFailure.create({
    type: 'COMMAND_FAILED',
    nonRetryable,
    message: `injected at ${activity}`,
    details: [{ ...(host === '' ? {} : { host }), evidence: 'injected', remedy: 'heal it' }],
  });

const connectionLost = (host: string, method: string) =>
  new DeployError({
    code: 'HOST_UNREACHABLE',
    message: `${host}: the connection was lost after ${method}`,
    remedy: 'Look at the network.',
    retryable: true,
    host,
  });
