import { mkdtempSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { SimHost } from '../../src/sim/host.ts';
import { listeningOn } from '../../src/sim/processes.ts';
import { scenarioFor, type ScenarioInput } from '../../src/sim/scenario.ts';
import { startSimulation, type Simulation } from '../../src/sim/simulation.ts';
import { execa } from 'execa';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { patientSeconds } from './patience.ts';
import { until } from './processes.ts';
import { aSpec } from './specs.ts';
import { allOf, startTemporalStack, type TemporalStack } from './temporal-stack.ts';

/**
 * The whole product on simulated hosts: a Temporal server and a Temporal worker as processes of their own, which can
 * be killed and started again, real ssh, real smg. The worker is the built one, in dist/.
 */
export interface Stack extends TemporalStack {
  readonly simulation: Simulation;
  /** HOME of the Temporal workers; the simulation's folder is in it. */
  readonly home: string;
  /** Runs a command line on a host, as somebody else who may log in there; its output. */
  onHost(name: string, line: string): Promise<string>;
  /** Every host as it is now. What hosts keep, weights and images as a cache and logs of what failed, is left out: see `kept`. */
  picture(hosts?: readonly string[]): Promise<Picture>;
  /** Waits for the picture to be the one before; what differs in the end is the test's failure. */
  settledPicture(before: Picture): Promise<Picture>;
  kept(): Promise<Readonly<Record<string, Readonly<Record<'weights' | 'images' | 'logs', readonly string[]>>>>>;
}

/** By host: what a deployment could leave there. */
export type Picture = Readonly<
  Record<
    string,
    {
      /** Files and folders under HOME, with sizes; leases and named jobs are among them. */
      readonly files: readonly string[];
      readonly leases: readonly string[];
      readonly containers: readonly string[];
      readonly listening: readonly number[];
      /** Command lines of real processes. */
      readonly processes: readonly string[];
    }
  >
>;

export interface StackOptions {
  /** Whose hosts are simulated; other specs of the same hosts may be deployed as well. */
  readonly spec: ClusterSpec;
  /** What differs from healthy hosts that fit the spec. */
  readonly scenario?: Partial<ScenarioInput>;
  /** A stack whose simulated hosts this one shares; it keeps a Temporal server, a namespace and workers of its own. */
  readonly beside?: Stack;
}

/** From here on ports are given by the system: the channels between engines have others at each start. */
const EPHEMERAL = 32_768;
const MARK = '.tandem-complete.json';
/** Folders that a host keeps for the next deployment, of any team; what is in them is in the picture. */
/** Logs of what an undo removed: kept, as caches are. */
const LOGS = '.tandem/logs/';
const STANDING = ['.tandem/', '.tandem/jobs/', 'leases/'];

/** Makes rows of `hosts.list` in a block of addresses: name, last number of the address, GPUs. */
export const hostIn = (block: string) => (name: string, last: number, count: number) => ({
  name,
  address: `${block}.${last}`,
  gpus: { product: 'MI300X', count },
});

/** Few and short requests: what acceptance asks when it is not what a test is about. */
export const SMALL_LOAD = {
  warmupRequests: 1,
  requests: 4,
  concurrency: 2,
  outputTokens: 4,
  promptTokens: 8,
  timeoutSeconds: patientSeconds(60),
};

/** A router without requests ends at once; without it smg takes five seconds. */
export const ROUTER_ARGS = { 'shutdown-grace-period-secs': 1 };

/** Of the oldest SGLang that Tandem knows, and of the newest. */
export const OLDEST_IMAGE = 'rocm/sgl-dev:v0.5.10.post1-rocm720-mi30x-20260427';
export const NEWEST_IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';

/**
 * One prefill and two decode engines of two GPUs each on 127.86.<block>.x, and a router; small enough that a deploy
 * takes seconds. `overrides` as of `aSpec`.
 */
export function stackSpec(block: number, overrides: Parameters<typeof aSpec>[0] = {}): ClusterSpec {
  const host = hostIn(`127.86.${block}`);
  const { hosts, engine, ...others } = overrides;
  return aSpec({
    name: 'small',
    model: { id: 'tandem/tiny-chat', source: 'file://~/share/tiny-chat', copy: true, dir: '~/models' },
    engine: {
      image: NEWEST_IMAGE,
      readyTimeoutSeconds: patientSeconds(60),
      stopTimeoutSeconds: 5,
      ...engine,
    },
    hosts: {
      ssh: {
        user: 'ops',
        port: 2222,
        // The simulation lies in the worker's HOME, so the spec is known before anything runs.
        identityFile: '~/sim/id_ed25519',
        knownHostsFile: '~/sim/known_hosts',
        retrySeconds: 3,
      },
      leaseDir: '~/leases',
      list: [host('p0', 1, 2), host('d0', 2, 2), host('d1', 3, 2), host('router-0', 4, 0)],
      ...hosts,
    },
    prefill: { replicas: 1, gpus: { product: 'MI300X', count: 2 }, hosts: ['p0'] },
    decode: { replicas: 2, gpus: { product: 'MI300X', count: 2 }, hosts: ['d0', 'd1'] },
    rdma: { testSeconds: 1 },
    router: {
      host: 'router-0',
      runtime: 'process',
      port: 30000,
      readyTimeoutSeconds: patientSeconds(60),
      args: ROUTER_ARGS,
    },
    acceptance: SMALL_LOAD,
    upgrade: { drainTimeoutSeconds: patientSeconds(10), settleSeconds: 1 },
    ...others,
  });
}

export async function startStack({ spec, scenario, beside }: StackOptions): Promise<Stack> {
  const home = beside?.home ?? mkdtempSync(join(tmpdir(), 'tandem-e2e-'));
  const ends: (() => Promise<unknown>)[] = beside ? [] : [() => rm(home, { recursive: true, force: true })];
  try {
    const simulation =
      beside?.simulation ??
      (await startSimulation({
        dir: join(home, 'sim'),
        scenario: {
          timing: { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 100 },
          testSecond: 0.05,
          ...scenarioFor(spec),
          ...scenario,
        },
        log: () => {},
      }));
    if (!beside) ends.unshift(() => simulation.stop());
    const temporal = await startTemporalStack(home, beside ? '-beside' : '');
    const stop = () => allOf([() => temporal.stop(), ...ends]);
    const onHost: Stack['onHost'] = async (name, line) => {
      const { identityFile, knownHostsFile, hosts } = simulation.state;
      const { user, address, port } = hosts.find((one) => one.name === name)!;
      const known = ['-F', 'none', '-o', 'BatchMode=yes', '-o', `UserKnownHostsFile=${knownHostsFile}`];
      const login = ['-i', identityFile, '-p', String(port), `${user}@${address}`];
      return (await execa('ssh', [...known, ...login, line])).stdout;
    };
    return { ...temporal, simulation, home, onHost, ...pictures(simulation), stop };
  } catch (error) {
    await allOf(ends).catch(() => undefined); // The first failure is the one to tell.
    throw error;
  }
}

// ---- Pictures

function pictures(simulation: Simulation) {
  const all = simulation.state.hosts.map(({ name }) => name);
  const byHost = async <T>(look: (host: SimHost) => Promise<T>, names = all): Promise<Record<string, T>> =>
    Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await look(simulation.host(name))] as const)),
    );
  const picture: Stack['picture'] = (names = all) =>
    byHost(
      async (host) => {
        const files = await host.files();
        const cached = weightsIn(files);
        return {
          files: files
            .filter((row) => !STANDING.includes(row))
            .filter(
              (row) => !cached.some((folder) => row.startsWith(`${folder}/`) || folder.startsWith(row.slice(0, -1))),
            )
            .filter((row) => !row.startsWith(LOGS))
            .map((row) => row.replace(/\/output \d+$/, '/output')), // A router that serves writes its log.
          leases: await readdir(join(host.home, 'leases')).catch(() => []),
          containers: [...host.docker.containers.values()]
            .map(({ name, state }) => `${name} ${state.status}`)
            .toSorted(),
          listening: (await listeningOn(new Set([host.scenario.address])))
            .map(({ port }) => port)
            .filter((port) => port < EPHEMERAL),
          processes: (await Promise.all((await host.processes()).map(commandLine)))
            .filter((line) => line !== '')
            .toSorted(),
        };
      },
      [...names],
    );
  return {
    picture,
    settledPicture: async (before: Picture) => {
      const wanted = JSON.stringify(before);
      let now = await picture();
      const settled = async () => JSON.stringify((now = await picture())) === wanted;
      await until('the hosts are as before', settled, { everyMs: 100 }).catch(() => undefined);
      return now;
    },
    kept: () =>
      byHost(async (host) => ({
        weights: weightsIn(await host.files()),
        images: host.docker.images.flatMap(({ tags }) => tags).toSorted(),
        logs: (await host.files()).filter((row) => row.startsWith(LOGS) && !row.endsWith('/')),
      })),
  };
}

/** Folders of complete weights, by their mark. */
const weightsIn = (files: readonly string[]): string[] =>
  files.filter((row) => row.includes(`/${MARK} `)).map((row) => dirname(row.slice(0, row.lastIndexOf(' '))));

const commandLine = async (pid: number): Promise<string> =>
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
