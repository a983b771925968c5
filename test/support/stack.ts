import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { connectClient, type TandemClient } from '../../src/client.ts';
import type { SimHost } from '../../src/sim/host.ts';
import { listeningOn } from '../../src/sim/processes.ts';
import { scenarioFor, type ScenarioInput } from '../../src/sim/scenario.ts';
import { startSimulation, type Simulation } from '../../src/sim/simulation.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { ensureNamespace } from '../../src/temporal-setup.ts';
import type { Admitted, DeploymentRecord, OperationProgress } from '../../workflows/messages.ts';
import { until } from './processes.ts';
import { aSpec } from './specs.ts';

/**
 * The whole product on simulated hosts: a Temporal server and a Temporal worker as processes of their own, which can
 * be killed and started again, real ssh, real smg. The worker is the built one, in dist/.
 */
export interface Stack {
  readonly client: TandemClient;
  readonly simulation: Simulation;
  readonly server: StackProcess;
  readonly worker: StackProcess;
  /** Another Temporal worker of the same queues; does not run unless it is started. */
  readonly secondWorker: StackProcess;
  /** HOME of the Temporal workers; the simulation's folder is in it. */
  readonly home: string;
  /** Asks for an operation, which begins at once. */
  begin(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<Admitted>;
  /** Waits for an operation's end and returns its record, as `history` shows it. */
  ended(cluster: string, admitted: Admitted, limitMs?: number): Promise<DeploymentRecord>;
  run(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<DeploymentRecord>;
  /** Waits until an operation shows what `is` looks for. */
  seen(admitted: Admitted, what: string, is: (progress: OperationProgress) => boolean): Promise<void>;
  /** Every host as it is now. Complete weights and images, which hosts keep as a cache, are left out: see `cache`. */
  picture(hosts?: readonly string[]): Promise<Picture>;
  /** Waits for the picture to be the one before; what differs in the end is the test's failure. */
  settledPicture(before: Picture): Promise<Picture>;
  cache(): Promise<
    Readonly<Record<string, { readonly weights: readonly string[]; readonly images: readonly string[] }>>
  >;
  /** Ends everything; no process is left. */
  stop(): Promise<void>;
}

export interface StackProcess {
  readonly pid: number;
  readonly running: boolean;
  readonly log: string;
  /** SIGKILL, and the wait until it is gone. */
  kill(): Promise<void>;
  /** Starts it again, the server on its port and SQLite file; returns once it answers. */
  start(): Promise<void>;
  /** SIGTERM, and the wait until it is gone. */
  end(): Promise<void>;
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

const here = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TEMPORAL = here('.venv/bin/temporal');
const WORKER = here('dist/src/worker.js');
const NAMESPACE = 'default';
const START_MS = 60_000;
const OPERATION_MS = 120_000;
const SETTLE_MS = 15_000;
/** From here on ports are given by the system: the channels between engines have others at each start. */
const EPHEMERAL = 32_768;
const MARK = '.tandem-complete.json';
/** Folders that a host keeps for the next deployment, of any team; what is in them is in the picture. */
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
  timeoutSeconds: 20,
};

/**
 * One prefill and two decode engines of two GPUs each on 127.86.<block>.x, and a router; small enough that a deploy
 * takes seconds. `overrides` as of `aSpec`.
 */
export function stackSpec(block: number, overrides: Parameters<typeof aSpec>[0] = {}): ClusterSpec {
  const host = hostIn(`127.86.${block}`);
  const { hosts, ...others } = overrides;
  return aSpec({
    name: 'small',
    model: { id: 'tandem/tiny-chat', source: 'file://~/share/tiny-chat', copy: true, dir: '~/models' },
    engine: { image: 'rocm/sgl-dev:v0.5.23-rocm720-mi30x', readyTimeoutSeconds: 20, stopTimeoutSeconds: 5 },
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
    router: { host: 'router-0', runtime: 'process', port: 30000, readyTimeoutSeconds: 60 },
    acceptance: SMALL_LOAD,
    upgrade: { drainTimeoutSeconds: 10, settleSeconds: 1 },
    ...others,
  });
}

export async function startStack({ spec, scenario, beside }: StackOptions): Promise<Stack> {
  if (!existsSync(WORKER)) throw new Error(`${WORKER} is missing: run \`npm run build\` first`);
  const home = beside?.home ?? mkdtempSync(join(tmpdir(), 'tandem-e2e-'));
  const stopping: (() => Promise<unknown>)[] = beside ? [] : [() => rm(home, { recursive: true, force: true })];
  const mark = beside ? '-beside' : '';
  const stop = async () => {
    const failures: unknown[] = [];
    for (const end of stopping.splice(0).reverse())
      await Promise.resolve(end()).catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  try {
    const [port, uiPort] = [await freePort(), await freePort()];
    const address = `127.0.0.1:${port}`;
    const server = program(
      `temporal${mark}`,
      home,
      // prettier-ignore
      [TEMPORAL, 'server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort),
        '--db-filename', join(home, `temporal${mark}.db`), '--log-level', 'error'],
      async () => {
        const connection = await Connection.connect({ address, connectTimeout: 1_000 });
        await ensureNamespace(connection, NAMESPACE).finally(() => connection.close());
      },
    );
    const workerNamed = (name: string) => {
      const worker: ReturnType<typeof program> = program(
        `${name}${mark}`,
        home,
        [process.execPath, WORKER],
        () => polled(address, worker.pid),
        { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: NAMESPACE },
      );
      return worker;
    };
    const worker = workerNamed('worker');
    const secondWorker = workerNamed('second-worker');
    stopping.push(() => server.end());
    await server.start();
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
    if (!beside) stopping.push(() => simulation.stop());
    stopping.push(
      () => worker.end(),
      () => secondWorker.end(),
    );
    await worker.start();
    const client = await connectClient({
      connectionOptions: { address },
      namespace: NAMESPACE,
      origin: address,
    });
    stopping.push(() => client.close());
    const processes = { server, worker, secondWorker };
    return { client, simulation, home, ...processes, ...operations(client), ...pictures(simulation), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

// ---- Processes

function program(
  name: string,
  home: string,
  argv: readonly [string, ...string[]],
  ready: () => Promise<unknown>,
  env: Readonly<Record<string, string>> = {},
): StackProcess {
  const log = join(home, `${name}.log`);
  let child: ChildProcess | undefined;
  let exited: Promise<unknown> = Promise.resolve();
  const isGone = () => !child || child.exitCode !== null || child.signalCode !== null;
  const signal = async (which: NodeJS.Signals) => {
    if (!isGone()) child!.kill(which);
    await exited;
  };
  return {
    log,
    get pid() {
      return child?.pid ?? 0;
    },
    get running() {
      return !isGone();
    },
    kill: () => signal('SIGKILL'),
    end: async () => {
      const late = setTimeout(() => child?.kill('SIGKILL'), 30_000);
      await signal('SIGTERM').finally(() => clearTimeout(late));
    },
    async start() {
      const output = openSync(log, 'a');
      const [command, ...args] = argv;
      const { TANDEM_ACTOR: _, NODE_OPTIONS: __, ...inherited } = process.env;
      child = spawn(command, args, { stdio: ['ignore', output, output], env: { ...inherited, HOME: home, ...env } });
      closeSync(output);
      exited = new Promise((resolve) => child!.once('exit', resolve).once('error', resolve));
      let why = '';
      await until(
        `${name} answers`,
        () => {
          if (isGone()) throw new Error(`${name} ended while it started:\n${readFileSync(log, 'utf8').slice(-2000)}`);
          return ready().then(
            () => true,
            (error: unknown) => ((why = String(error)), false),
          );
        },
        START_MS,
      ).catch((error: Error) => {
        throw new Error(`${error.message} (${why})`);
      });
    },
  };
}

/** Resolves when this very process polls both queues: a killed one is listed for minutes. */
async function polled(address: string, pid: number): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 1_000 });
  try {
    for (const [queue, type] of [
      ['tandem', 1],
      ['tandem-default', 2],
    ] as const) {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace: NAMESPACE,
        taskQueue: { name: queue },
        taskQueueType: type,
      });
      if (!pollers?.some(({ identity }) => identity?.includes(` ${pid}@`))) throw new Error(`nobody polls ${queue}`);
    }
  } finally {
    await connection.close();
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });

// ---- Operations

function operations(client: TandemClient) {
  const begin: Stack['begin'] = (spec, operation = 'deploy') =>
    client.submit(spec.name, { operation, spec, specDigest: specDigest(spec), actor: 'tester' });
  const ended: Stack['ended'] = async (cluster, { deployment }, limitMs = OPERATION_MS) => {
    let record: DeploymentRecord | undefined;
    await until(
      `deployment ${deployment} of ${cluster} ends`,
      async () => {
        const now = await client.record(cluster).catch(() => undefined); // A server or worker may be down meanwhile.
        record = now?.deployments.find((entry) => entry.deployment === deployment);
        return record !== undefined && record.outcome !== 'running';
      },
      limitMs,
    );
    return record!;
  };
  return {
    begin,
    ended,
    run: async (...asked: Parameters<Stack['begin']>) => await ended(asked[0].name, await begin(...asked)),
    seen: async ({ workflowId }: Admitted, what: string, is: (progress: OperationProgress) => boolean) =>
      await until(
        `${workflowId}: ${what}`,
        async () => {
          const progress = await client.progress(workflowId);
          if (progress && progress.outcome !== 'running')
            throw new Error(`${workflowId} is ${progress.outcome} before ${what}: ${JSON.stringify(progress.failed)}`);
          return progress !== undefined && is(progress);
        },
        OPERATION_MS,
      ),
  };
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
            .map((row) => row.replace(/\/(stdout|stderr) \d+$/, '/$1')), // A router that serves writes its log.
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
      const endMs = Date.now() + SETTLE_MS;
      while (JSON.stringify(now) !== wanted && Date.now() < endMs) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        now = await picture();
      }
      return now;
    },
    cache: () =>
      byHost(async (host) => ({
        weights: weightsIn(await host.files()),
        images: host.docker.images.flatMap(({ tags }) => tags).toSorted(),
      })),
  };
}

/** Folders of complete weights, by their mark. */
const weightsIn = (files: readonly string[]): string[] =>
  files.filter((row) => row.includes(`/${MARK} `)).map((row) => dirname(row.slice(0, row.lastIndexOf(' '))));

const commandLine = async (pid: number): Promise<string> =>
  (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ').trim();
