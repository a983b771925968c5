import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection } from '@temporalio/client';
import { connectClient, type TandemClient } from '../../src/client.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { ensureNamespace } from '../../src/temporal-setup.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { ANSWER_MS, START_MS, STILL_MS, patient } from './patience.ts';
import { eventually, until, whileItGoesOn } from './processes.ts';

/** A Temporal server and the built Temporal worker as processes of their own, which can be killed and started again. */
export interface TemporalStack {
  readonly client: TandemClient;
  /** Of the Temporal server. */
  readonly address: string;
  readonly server: StackProcess;
  readonly worker: StackProcess;
  /** Another Temporal worker of the same queues; does not run unless it is started. */
  readonly secondWorker: StackProcess;
  /** Asks for an operation, which begins at once. */
  begin(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<Admitted>;
  /** Waits for an operation's end, while it goes on, and returns its record, as `history` shows it. */
  ended(cluster: string, admitted: Admitted, stillMs?: number): Promise<DeploymentRecord>;
  run(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<DeploymentRecord>;
  /** Waits until a step of an operation has begun, though it may be over by then. Errors: the operation ends before it. */
  reaches(admitted: Admitted, step: string): Promise<void>;
  /** Ends all of it. */
  stop(): Promise<void>;
}

export interface StackProcess {
  readonly pid: number;
  readonly running: boolean;
  /** Of its last run; null while it runs, and where a signal ended it. */
  readonly exitCode: number | null;
  readonly log: string;
  /** SIGKILL, and the wait until it is gone. */
  kill(): Promise<void>;
  /** Starts it again, the server on its port and SQLite file; returns once it answers. */
  start(): Promise<void>;
  /** SIGTERM, and the wait until it is gone. */
  end(): Promise<void>;
}

const here = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const TEMPORAL = here('.venv/bin/temporal');
const WORKER = here('dist/src/worker.js');
const NAMESPACE = 'default';
/** A worker that was told to end first finishes what it does. */
const END_MS = patient(60_000);
const CONNECT_MS = patient(5_000);

/** `home` is the HOME of the Temporal workers and where the server keeps its database; `mark` tells two in one home apart. */
export async function startTemporalStack(home: string, mark = ''): Promise<TemporalStack> {
  if (!existsSync(WORKER)) throw new Error(`${WORKER} is missing: run \`npm run build\` first`);
  const [port, uiPort] = [await freePort(), await freePort()];
  const address = `127.0.0.1:${port}`;
  const server = program(
    `temporal${mark}`,
    home,
    // prettier-ignore
    [TEMPORAL, 'server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort),
      '--db-filename', join(home, `temporal${mark}.db`), '--log-level', 'error'],
    async () => {
      const connection = await Connection.connect({ address, connectTimeout: CONNECT_MS });
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
  const processes = [server, worker, secondWorker];
  const end = () => allOf([...processes].reverse().map((each) => () => each.end()));
  try {
    await server.start();
    await worker.start();
    const settings = { connectionOptions: { address }, namespace: NAMESPACE, origin: address };
    const client = await connectClient(settings, undefined, { requestValidMs: ANSWER_MS, queryMs: ANSWER_MS });
    const stop = () => allOf([() => client.close(), end]);
    return { client, address, server, worker, secondWorker, ...operations(client), stop };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Does all of these one after the other, also where one fails, and then throws the first failure. */
export async function allOf(acts: readonly (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const act of acts) await Promise.resolve(act()).catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
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
    get exitCode() {
      return child?.exitCode ?? null;
    },
    kill: () => signal('SIGKILL'),
    end: async () => {
      const late = setTimeout(() => child?.kill('SIGKILL'), END_MS);
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
        { limitMs: START_MS, everyMs: 50 },
      ).catch((error: Error) => {
        throw new Error(`${error.message} (${why})`);
      });
    },
  };
}

/** Resolves when this very process polls both queues: a killed one is listed for minutes. Errors: it does not. */
export async function polled(address: string, pid: number, namespace = NAMESPACE): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: CONNECT_MS });
  try {
    for (const [queue, type] of [
      ['tandem', 1],
      ['tandem-default', 2],
      ['tandem-default-reads', 2],
    ] as const) {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace,
        taskQueue: { name: queue },
        taskQueueType: type,
      });
      if (!pollers?.some(({ identity }) => identity?.includes(` ${pid}@`))) throw new Error(`nobody polls ${queue}`);
    }
  } finally {
    await connection.close();
  }
}

export const freePort = (): Promise<number> =>
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
  const begin: TemporalStack['begin'] = (spec, operation = 'deploy') =>
    client.submit(spec.name, { operation, spec, specDigest: specDigest(spec), actor: 'tester' });
  const ended: TemporalStack['ended'] = async (cluster, { deployment, workflowId }, stillMs = STILL_MS) => {
    const what = `deployment ${deployment} of ${cluster} ends`;
    const shown = () => client.progress(workflowId).catch(() => undefined); // A server or worker may be down meanwhile.
    await whileItGoesOn(what, client.settled(workflowId), shown, { limitMs: stillMs });
    return await eventually(
      async () => {
        const now = await client.record(cluster).catch(() => undefined);
        const record = now?.deployments.find((entry) => entry.deployment === deployment);
        return record?.outcome !== 'running' && record;
      },
      { what, everyMs: 50 },
    );
  };
  return {
    begin,
    ended,
    run: async (...asked: Parameters<TemporalStack['begin']>) => await ended(asked[0].name, await begin(...asked)),
    reaches: async ({ workflowId }: Admitted, step: string) =>
      await until(
        `${workflowId} reaches ${step}`,
        async () => {
          const progress = await client.progress(workflowId).catch(() => undefined);
          if (progress && progress.outcome !== 'running')
            throw new Error(`${workflowId} is ${progress.outcome}, not at ${step}: ${JSON.stringify(progress.failed)}`);
          const state = progress?.steps.find(({ name }) => name === step)?.state;
          return state !== undefined && state !== 'waiting';
        },
        { limitMs: STILL_MS, everyMs: 50 },
      ),
  };
}
