import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { connectClient, type TandemClient } from '../src/client.ts';
import { end, isAlive, launch, until, type LocalProcess } from '../src/cli/local/processes.ts';
import { WORKER_COMMAND } from '../src/cli/worker.ts';
import { dataConverter } from '../src/connection.ts';
import { scenarioFor } from '../src/sim/scenario.ts';
import type { SimulationState } from '../src/sim/simulation.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { ensureNamespace } from '../src/temporal-setup.ts';

const built = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const TEMPORAL = built('../.venv/bin/temporal');
const SIMULATION = built('src/sim/main.js');
const FLOOR = built('bench/floor.js');

const NAMESPACE = 'default';
const START_MS = 120_000;
/** The floor runs as long as a deploy; past this it hangs, in milliseconds. */
const FLOOR_MS = 30 * 60_000;
/** Engines load and warm up at once: what waits for nothing shows what Temporal costs at its worst. */
const QUICK = { timing: { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 50 }, testSecond: 0.03 };

/** The processes of a bench; `close` ends those that are left, newest first. */
export class Stack {
  readonly #dir: string;
  readonly #running: LocalProcess[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** A Temporal dev server with its database in a file, as `tandem local up` starts it. */
  async temporal(): Promise<{
    readonly process: LocalProcess;
    readonly address: string;
    readonly client: Client;
    readonly tandem: TandemClient;
  }> {
    const port = await freePort();
    const address = `127.0.0.1:${port}`;
    const database = join(this.#dir, 'temporal.db');
    const argv = [TEMPORAL, 'server', 'start-dev', '--headless', '--ip', '127.0.0.1', '--port', String(port)];
    const process = await this.#start('temporal', [...argv, '--db-filename', database, '--log-level', 'error']);
    await ready(process, async () => {
      const connection = await Connection.connect({ address, connectTimeout: 1_000 });
      await ensureNamespace(connection, NAMESPACE).finally(() => connection.close());
    });
    const connection = await Connection.connect({ address });
    return {
      process,
      address,
      client: new Client({ connection, namespace: NAMESPACE, dataConverter }),
      tandem: await connectClient({ connectionOptions: { address }, namespace: NAMESPACE, origin: address }),
    };
  }

  /** The product's Temporal worker, ready to take tasks. */
  async worker(address: string, tandem: TandemClient): Promise<LocalProcess> {
    const process = await this.#start('worker', WORKER_COMMAND, {
      TEMPORAL_ADDRESS: address,
      TEMPORAL_NAMESPACE: NAMESPACE,
    });
    await ready(process, async () => {
      const failed = (await tandem.diagnose('default')).find(({ verdict }) => verdict === 'fail');
      if (failed) throw new Error(failed.evidence);
    });
    return process;
  }

  /** The hosts of a spec, as new: only their keys are those of before, so that what reached them then does so now. */
  async hosts(spec: ClusterSpec, dir: string): Promise<LocalProcess & { readonly state: SimulationState }> {
    await mkdir(dir, { recursive: true });
    await wipeHosts(join(dir, 'hosts'));
    const [scenario, state] = [join(dir, 'scenario.json'), join(dir, 'state.json')];
    await rm(state, { force: true });
    await writeFile(scenario, JSON.stringify({ ...scenarioFor(spec), ...QUICK }));
    const argv = [globalThis.process.execPath, SIMULATION, '--dir', dir, '--scenario', scenario, '--state', state];
    const process = await this.#start('hosts', argv);
    await ready(process, () => readFile(state));
    return { ...process, state: JSON.parse(await readFile(state, 'utf8')) as SimulationState };
  }

  /** Runs the floor over groups of calls in a file; what it measured is in the result file. */
  async floor(groupsFile: string, resultFile: string): Promise<void> {
    await rm(resultFile, { force: true });
    const process = await this.#start('floor', [globalThis.process.execPath, FLOOR, groupsFile, resultFile]);
    if (!(await until(async () => !(await isAlive(process)), FLOOR_MS))) throw new Error('the floor hangs');
    await readFile(resultFile).catch(async () => {
      throw new Error(`the floor failed: ${await tail(process.log)}`);
    });
  }

  async stop(process: LocalProcess): Promise<void> {
    await end(process);
    this.#running.splice(
      this.#running.findIndex(({ pid }) => pid === process.pid),
      1,
    );
  }

  async close(): Promise<void> {
    for (const process of this.#running.reverse()) await end(process);
  }

  async #start(name: string, argv: readonly string[], env?: Readonly<Record<string, string>>): Promise<LocalProcess> {
    const process = await launch(name, join(this.#dir, `${name}.log`), argv, env);
    this.#running.push(process);
    return process;
  }
}

/** Command lines that came over ssh to all hosts since they were started. */
export async function logins({ control }: SimulationState): Promise<number> {
  const response = await fetch(`${control.url}/counts`, { headers: { authorization: `Bearer ${control.token}` } });
  const counts = (await response.json()) as Record<string, { readonly logins: number }>;
  return Object.values(counts).reduce((sum, host) => sum + host.logins, 0);
}

async function wipeHosts(folder: string): Promise<void> {
  for (const host of await readdir(folder).catch(() => [])) {
    for (const name of await readdir(join(folder, host))) {
      if (!name.startsWith('ssh_host_')) await rm(join(folder, host, name), { recursive: true, force: true });
    }
  }
}

async function ready(process: LocalProcess, probe: () => Promise<unknown>): Promise<void> {
  let why = '';
  const answered = await until(async () => {
    if (!(await isAlive(process))) throw new Error(`${process.name} ended while starting: ${await tail(process.log)}`);
    return await probe().then(
      () => true,
      (error: unknown) => ((why = String(error)), false),
    );
  }, START_MS);
  if (!answered) throw new Error(`${process.name} is not ready: ${why}; ${await tail(process.log)}`);
}

const tail = async (file: string): Promise<string> => (await readFile(file, 'utf8')).split('\n').slice(-15).join('\n');

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
