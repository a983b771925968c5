import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { scenarioFor } from '../../src/sim/scenario.ts';
import { startSimulation, type Simulation } from '../../src/sim/simulation.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { CLI } from '../support/cli.ts';
import { START_MS, patient } from '../support/patience.ts';
import { processesWith, until } from '../support/processes.ts';
import { stackSpec } from '../support/stack.ts';
import { allOf, freePort, polled } from '../support/temporal-stack.ts';
import { loadCompose, type Service } from './loader.ts';

/**
 * `npm run test:compose`: what docker-compose.yml starts, from its parts, for no image can be pulled where the tests run:
 * the same releases of Temporal's server and Web UI, PostgreSQL of this machine, and the Tandem worker as the Dockerfile
 * makes it; with the environment, the commands and the scripts of that file, and all of it by a user who is not root.
 */
const parts = process.env['TANDEM_TEMPORAL_BUILD'];
const suite = parts === undefined || userInfo().uid !== 0 ? describe.skip : describe;

const ROOT = join(import.meta.dirname, '..', '..');
const BLOCK = 96;
/** Where the services of the file are, whose names nobody resolves here. All ports are those of the file. */
const AT = { postgresql: `127.86.${BLOCK}.101`, temporal: `127.86.${BLOCK}.102` };
const ADDRESS = `${AT.temporal}:7233`;
const USER = 'nobody';
const DEPLOY_MS = patient(240_000);

let home: string;
let services: Record<string, Service>;
let postgres: string;
let simulation: Simulation;
let uiPort: number;
const ends: (() => Promise<unknown>)[] = [];
const running = new Map<string, ChildProcess>();

/** The environment that the file gives a service, with the addresses of here. */
const environmentOf = (service: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(services[service]!.environment ?? {}).map(([name, value]) => [
      name,
      value === 'postgresql' ? AT.postgresql : value.replace(/^temporal:/, `${AT.temporal}:`),
    ]),
  );

async function idsOf(user: string): Promise<{ readonly uid: number; readonly gid: number }> {
  const [uid, gid] = await Promise.all(
    ['-u', '-g'].map(async (flag) => Number((await execa('id', [flag, user])).stdout)),
  );
  return { uid: uid!, gid: gid! };
}
const asUser = (argv: readonly string[]) => [
  'setpriv',
  '--reuid',
  USER,
  '--clear-groups',
  '--regid',
  'nogroup',
  ...argv,
];
const PATH = () => `${join(home, 'temporal')}:${join(ROOT, '.venv/bin')}:${process.env['PATH']}`;
const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}) => {
  const [command, ...args] = asUser(argv);
  return execa(command!, args, { cwd: home, env: { PATH: PATH(), HOME: home, ...env }, extendEnv: false });
};

/** Starts a service, whose log is named like it. */
function start(name: string, argv: readonly string[], env: Readonly<Record<string, string>>): void {
  const log = openSync(join(home, `${name}.log`), 'a');
  const [command, ...args] = asUser(argv);
  const child = spawn(command!, args, {
    cwd: home,
    env: { PATH: PATH(), HOME: home, ...env },
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  running.set(name, child);
}

async function end(name: string, signal: NodeJS.Signals): Promise<void> {
  const child = running.get(name);
  running.delete(name);
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await until(`${name} is over`, () => child.exitCode !== null || child.signalCode !== null, { limitMs: START_MS });
}

const database = (verb: readonly string[]) =>
  run([join(postgres, 'pg_ctl'), '-D', join(home, 'data'), '-w', '-l', join(home, 'postgresql.log'), ...verb]);
const startDatabase = () =>
  database(['-o', `-h ${AT.postgresql} -p ${environmentOf('temporal')['DB_PORT']} -k ${home}`, 'start']);

const startWorker = (name: string) =>
  start(
    name,
    [process.execPath, join(home, 'app/dist/src/cli/main.js'), ...services['worker']!.command!],
    environmentOf('worker'),
  );

/** The process that `tandem worker` starts, and without which it ends. */
const workerOf = async (pid: number) => Number(await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8'));

/** What an operator does on this machine, by the settings that the file's first lines name. */
const tandem = (...args: readonly string[]) =>
  execa(process.execPath, [CLI, ...args], {
    env: { HOME: home, TEMPORAL_ADDRESS: ADDRESS, TEMPORAL_NAMESPACE: 'tandem' },
    reject: false,
    timeout: DEPLOY_MS,
  });

async function specFile(name: string, decode: number): Promise<string> {
  const spec: ClusterSpec = stackSpec(BLOCK, { name: 'composed' });
  const file = join(home, `${name}.yaml`);
  const ssh = { ...spec.hosts.ssh, identityFile: '~/.ssh/id_ed25519', knownHostsFile: '~/.ssh/known_hosts' };
  const made = { ...spec, hosts: { ...spec.hosts, ssh }, decode: { ...spec.decode, replicas: decode } };
  await writeFile(file, JSON.stringify(made)); // Which is YAML too.
  return file;
}

suite('the parts of docker-compose.yml', () => {
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'tandem-compose-'));
    ends.push(() => rm(home, { recursive: true, force: true }));
    const { uid, gid } = await idsOf(USER);
    await chown(home, uid, gid);
    services = await loadCompose({ TEMPORAL_DB_PASSWORD: 'not-secret' });
    const versions = await readdir('/usr/lib/postgresql');
    postgres = join('/usr/lib/postgresql', versions.toSorted().at(-1)!, 'bin');

    await cp(parts!, join(home, 'temporal'), { recursive: true });

    // The worker as the image has it: the build, and only the packages that it needs. `npm run test:package` installs it.
    const app = join(home, 'app');
    await mkdir(app);
    for (const each of ['dist', 'node_modules', 'package.json', 'package-lock.json', '.npmrc'])
      await cp(join(ROOT, each), join(app, each), { recursive: true, verbatimSymlinks: true });
    await execa('npm', ['prune', '--omit=dev', '--no-fund', '--no-audit'], { cwd: app });

    const spec = stackSpec(BLOCK);
    simulation = await startSimulation({
      dir: join(home, 'sim'),
      scenario: {
        timing: { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 100 },
        testSecond: 0.05,
        ...scenarioFor(spec),
      },
      log: () => {},
    });
    ends.unshift(() => simulation.stop());
    // What the file mounts at ~/.ssh.
    await mkdir(join(home, '.ssh'), { mode: 0o700 });
    const { identityFile, knownHostsFile } = simulation.state;
    for (const [from, to] of [
      [identityFile, 'id_ed25519'],
      [knownHostsFile, 'known_hosts'],
    ] as const) {
      await cp(from, join(home, '.ssh', to));
      await chmod(join(home, '.ssh', to), 0o600);
    }
    await execa('chown', ['-R', `${uid}:${gid}`, join(home, '.ssh')]);

    const { POSTGRES_USER, POSTGRES_PASSWORD } = environmentOf('postgresql') as Record<string, string>;
    const password = join(home, 'password');
    await writeFile(password, POSTGRES_PASSWORD!);
    await chown(password, uid, gid);
    await run([
      join(postgres, 'initdb'),
      '-D',
      join(home, 'data'),
      '-U',
      POSTGRES_USER!,
      '-A',
      'scram-sha-256',
      `--pwfile=${password}`,
    ]);
    ends.unshift(() => database(['-m', 'fast', 'stop']));
    await startDatabase();
    await run(['sh', join(ROOT, 'deploy/temporal/schema.sh')], {
      ...environmentOf('temporal-schema'),
      TEMPORAL_SCHEMA: join(home, 'temporal/schema'),
    });
    ends.unshift(() => allOf([...running.keys()].map((name) => () => end(name, 'SIGTERM'))));
    start('temporal', ['temporal-server', 'start'], {
      ...environmentOf('temporal'),
      BIND_ON_IP: AT.temporal,
      DYNAMIC_CONFIG_FILE_PATH: join(ROOT, 'deploy/temporal/dynamicconfig/tandem.yaml'),
    });
    await run(['sh', join(ROOT, 'deploy/temporal/namespace.sh')], environmentOf('temporal-namespace'));
    start(
      'ui',
      ['temporal-ui-server', '--root', join(home, 'temporal'), '--config', 'config', '--env', 'docker', 'start'],
      {
        ...environmentOf('temporal-ui'),
        TEMPORAL_UI_PORT: String((uiPort = await freePort())),
      },
    );
    for (const name of ['worker-1', 'worker-2']) {
      startWorker(name);
      const polls = () =>
        workerOf(running.get(name)!.pid!)
          .then((pid) => polled(ADDRESS, pid, 'tandem'))
          .then(() => true)
          .catch(() => false);
      await until(`${name} polls`, polls, { limitMs: START_MS }).catch(async (error: Error) => {
        throw new Error(`${error.message}; ${await readFile(join(home, `${name}.log`), 'utf8')}`);
      });
    }
  });
  afterAll(() => allOf(ends));

  it('make the schema and the namespace again without harm', async () => {
    await run(['sh', join(ROOT, 'deploy/temporal/schema.sh')], {
      ...environmentOf('temporal-schema'),
      TEMPORAL_SCHEMA: join(home, 'temporal/schema'),
    });
    await run(['sh', join(ROOT, 'deploy/temporal/namespace.sh')], environmentOf('temporal-namespace'));
  });

  it(
    'deploy',
    async () => {
      const { stdout, stderr, exitCode } = await tandem('deploy', await specFile('first', 1));
      expect({ exitCode, stderr: exitCode === 0 ? '' : stderr + stdout }).toEqual({ exitCode: 0, stderr: '' });
    },
    DEPLOY_MS,
  );

  it(
    'go on with a deploy when one worker is killed and the database restarts in its middle',
    async () => {
      const deploy = tandem('deploy', await specFile('second', 2));
      const started = () => simulation.counts()['d1']!.containersCreated === 1;
      await until('an engine was started on d1', started, { limitMs: DEPLOY_MS });
      process.kill(await workerOf(running.get('worker-1')!.pid!), 'SIGKILL');
      await database(['-m', 'immediate', 'stop']);
      await startDatabase();
      const { stdout, stderr, exitCode } = await deploy;
      expect({ exitCode, stderr: exitCode === 0 ? '' : stderr + stdout }).toEqual({ exitCode: 0, stderr: '' });
      expect(simulation.counts()['d1']).toMatchObject({ containersCreated: 1, enginesStarted: 1 });
    },
    DEPLOY_MS,
  );

  it('show both deployments in `history` and in the Web UI', async () => {
    const history = JSON.parse((await tandem('history', 'composed', '--json')).stdout) as { outcome: string }[];
    expect(history.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded']);
    const page = await fetch(`http://127.0.0.1:${uiPort}/namespaces/tandem/workflows`);
    expect({ status: page.status, html: (await page.text()).includes('<html') }).toEqual({ status: 200, html: true });
    const query = encodeURIComponent('TandemCluster="composed" AND TandemOperation="deploy"');
    const answer = await fetch(`http://127.0.0.1:${uiPort}/api/v1/namespaces/tandem/workflows?query=${query}`);
    const { executions } = (await answer.json()) as { executions: { status: string }[] };
    expect(executions.map(({ status }) => status)).toEqual(Array(2).fill('WORKFLOW_EXECUTION_STATUS_COMPLETED'));
  });

  it('run as a user who is not root', async () => {
    const owners = await Promise.all(
      processesWith(home).map(
        async (pid) => (await readFile(`/proc/${pid}/status`, 'utf8')).match(/^Uid:\t(\d+)/m)![1],
      ),
    );
    const { uid } = await idsOf(USER);
    expect(owners.filter((owner) => owner === String(uid)).length).toBeGreaterThanOrEqual(3);
  });
});
