import { readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createPictureActivities } from '../../activities/picture.ts';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers, Host, KeptLogs, Leases, Runtime, UnitSpec } from '../../src/drivers/types.ts';
import { LABELS } from '../../src/drivers/types.ts';
import { MARK } from '../../src/drivers/weights/files.ts';
import type * as images from '../../src/drivers/images.ts';
import { resolveImage } from '../../src/drivers/images.ts';
import { openWeights } from '../../src/drivers/weights/stage.ts';
import type { Weights } from '../../src/drivers/weights/types.ts';
import { THINGS, type HostPicture, type PictureScope, type Thing } from '../../src/facts/host-picture.ts';
import type { HostRef } from '../../src/plan/types.ts';
import { killProcesses, listeningOn } from '../../src/sim/processes.ts';
import { patient } from '../support/patience.ts';
import { aContainer, aRouter } from '../support/plan-rows.ts';
import { eventually, alive, textOf } from '../support/processes.ts';
import { simulate, type TestSimulation } from '../support/simulation.ts';

// Every driver method that changes a host, each ended half-way where it can be, against a look from outside.
const ADDRESS = '127.91.1.1';
const [IMAGE, PULLED] = ['lab/sgl:1', 'lab/sgl:2'];
const [CLUSTER, INSTALLATION] = ['qwen', 'run-1'];
const OWNER = { cluster: CLUSTER, installation: INSTALLATION, deployment: 3 };
const PATH = '~/models/acme/tiny/main';
const SOURCE = 'file://~/share/tiny-chat';
const PCI = ['0000:05:00.0', '0000:15:00.0'];
const weights = openWeights();
let sim: TestSimulation;
let drivers: Drivers;
beforeAll(async () => {
  sim = await simulate({
    hosts: [{ name: 'gpu-a', address: ADDRESS, images: [IMAGE] }],
    images: [{ reference: IMAGE, sizeBytes: 4_000 }, { reference: PULLED }],
  });
  drivers = createDrivers({ runtimeDir: join(sim.dir, 'r') });
});
/** The host as it was at first, whatever a test left there. */
afterEach(async () => {
  await sim.setFaults([]);
  for (const each of machine().docker.containers.values()) await machine().docker.remove(each, true);
  await killProcesses(machine().home);
  for (const folder of ['.tandem', 'leases', 'models']) await rm(home(folder), { recursive: true, force: true });
});
afterAll(async () => {
  await drivers.close();
  await sim.stop();
});

const machine = () => sim.host('gpu-a');
const ref = (): HostRef => {
  const { address, port, user, hostKey } = sim.state.hosts[0]!;
  const { identityFile, knownHostsFile } = sim.state;
  const ssh: HostRef['ssh'] = { identityFile, knownHostsFile, jump: [], become: 'none' };
  const folders = { stateDir: '~/.tandem', leaseDir: '~/leases' };
  return { name: 'gpu-a', address, port, user, hostKey, fabricAddress: address, ssh, ...folders };
};
const host = (signal?: AbortSignal) => drivers.host(ref(), signal);
const home = (...parts: string[]) => join(machine().home, ...parts);
const scope = (more: Partial<PictureScope> = {}): PictureScope => ({
  cluster: CLUSTER,
  installation: INSTALLATION,
  docker: true,
  ports: [30_000],
  modelPath: PATH,
  images: [],
  ...more,
});
const picture = (more?: Partial<PictureScope>) => host().picture(scope(more));

const labels = (owner: typeof OWNER): Record<string, string> => ({
  [LABELS.cluster]: owner.cluster,
  [LABELS.installation]: owner.installation,
  [LABELS.deployment]: String(owner.deployment),
  [LABELS.gpus]: '0,1,2',
});
const unitOf = (
  owner: typeof OWNER,
  argv: readonly string[],
  name = `tandem-${owner.cluster}-decode-0-${owner.deployment}`,
): UnitSpec => ({
  name,
  labels: labels(owner),
  argv,
  env: {},
  stopTimeoutSeconds: 1,
});
const container = (owner = OWNER): UnitSpec => ({
  ...unitOf(owner, ['sleep', '600'], `tandem-${owner.cluster}-prefill-0-${owner.deployment}`),
  container: aContainer({ image: IMAGE, hostIpc: false }),
});
const job = (script = 'exec sleep 600', owner = OWNER) => unitOf(owner, ['bash', '-c', script]);
const JOB = job().name;
const docker = () => host().runtime('docker');
const jobs = () => host().runtime('process');
const stage = (owner = OWNER, signal = new AbortController().signal) =>
  weights.stage(host(), { source: SOURCE, path: PATH, copy: true, owner }, { signal, progress: () => undefined });

// ---- Ending something half-way

/** Waits until a command of the host matches, which hangs there from now on. */
async function hangsAt(match: string, act: () => Promise<unknown>): Promise<{ readonly done: Promise<unknown> }> {
  await sim.setFaults([{ match, does: 'hangs' }]);
  const { calls } = machine();
  const seen = calls.length;
  const done = act().catch((error: unknown) => error);
  await eventually(() => calls.slice(seen).some((argv) => new RegExp(match, 's').test(argv.join(' '))));
  return { done };
}

/** Kills the shells that run a script with this argument, at the moment when a command in it hangs. */
async function killedAt(match: string, argument: string, act: () => Promise<unknown>): Promise<void> {
  const { done } = await hangsAt(match, act);
  for (const pid of await machine().processes()) {
    const argv = textOf(`/proc/${pid}/cmdline`).split('\0');
    if (argv[1] === '-c' && argv.includes(argument)) process.kill(pid, 'SIGKILL');
  }
  await sim.setFaults([]);
  await done;
}

const readFirst = (path: string) => Number(readFileSync(path, 'utf8').split(' ')[0]);
const pidOf = (name: string, turn = 0) => readFirst(home('.tandem', 'jobs', name, String(turn), 'pid'));

// ---- The look from outside

interface Outside {
  readonly files: ReadonlySet<string>;
  readonly processes: ReadonlySet<number>;
  readonly ports: ReadonlySet<string>;
  readonly containers: ReadonlySet<string>;
  readonly images: ReadonlySet<string>;
}

async function outside(): Promise<Outside> {
  const { docker: engine } = machine();
  return {
    files: new Set((await machine().files()).map((row) => home(row.replace(/ \d+$/, '')))),
    processes: new Set((await machine().processes()).filter(alive)),
    ports: new Set((await listeningOn(new Set([ADDRESS]))).map(({ address, port }) => `${address}:${port}`)),
    containers: new Set([...engine.containers.values()].map(({ name, state }) => `${name} ${state.status}`)),
    images: new Set(engine.images.flatMap(({ tags }) => tags)),
  };
}

/** Folders that all clusters of a host share; they stay. */
const SHARED = [
  '.tandem/',
  '.tandem/jobs/',
  '.tandem/deployments/',
  '.tandem/logs/',
  'leases/',
  'models/',
  'models/acme/',
  'models/acme/tiny/',
];

/** What is there now and was not, and has no row in the picture. */
async function unseen(before: Outside, taken: HostPicture): Promise<string[]> {
  const now = await outside();
  const rows = (kind: Thing) => taken.things[kind] ?? [];
  const fresh = (kind: keyof Outside) =>
    [...(now[kind] as ReadonlySet<unknown>)].filter((one) => !(before[kind] as ReadonlySet<unknown>).has(one));
  const shown = (path: string) =>
    rows('file').some((row) => row === path || (row.endsWith('/') && path.startsWith(row))) ||
    rows('file').some(
      (row) => path.startsWith(row.replace(/ without its completion mark$/, '')) && row.includes(' without '),
    ) ||
    rows('job').some((row) => path.startsWith(`${home('.tandem', 'jobs', row.split(' ')[0]!)}/`)) ||
    rows('lease').some((row) => path === home('leases', row.split(',')[0]!)) ||
    taken.kept.some(({ kind, what }) => kind === 'weights' && path.startsWith(`${what}/`)) ||
    taken.kept.some(({ kind, what }) => kind === 'log' && (path === what || path === `${dirname(what)}/`));
  const running = await runningPids(taken);
  const strangers = [...now.processes].filter(
    (pid) =>
      !before.processes.has(pid) &&
      !rows('process').some((row) => row.startsWith(`${pid} `)) &&
      !running.some((unit) => isOf(pid, unit)),
  );
  return [
    ...fresh('files').filter(
      (path) => !SHARED.map((folder) => home(folder)).includes(String(path)) && !shown(String(path)),
    ),
    ...(await lasting(strangers)),
    ...fresh('ports').filter((port) => !rows('port').includes(String(port))),
    ...fresh('containers').filter(
      (row) =>
        !rows('container').includes(
          String(row)
            .replace(/ running$/, ' runs')
            .replace(/ (exited|created)$/, ' does not run'),
        ),
    ),
    ...fresh('images').filter((image) => !taken.kept.some(({ kind, what }) => kind === 'image' && what === image)),
  ].map(String);
}

/** Those that do not end of themselves soon, as the runner of a command does that answered a moment ago. */
async function lasting(pids: readonly number[]): Promise<readonly number[]> {
  await eventually(() => !pids.some(alive), { limitMs: patient(10_000) }).catch(() => undefined);
  return pids.filter(alive);
}

/** First processes of the units that the picture says run. */
async function runningPids({ things }: HostPicture): Promise<number[]> {
  const runs = (row: string) => row.endsWith(' runs');
  const named = (things.job ?? []).filter(runs).map((row) => row.split(' ')[0]!);
  const found = [...(await jobs().find({})), ...(await docker().find({}))];
  const contained = (things.container ?? []).filter(runs).map((row) => row.split(' ')[0]!);
  return found.filter(({ name }) => [...named, ...contained].includes(name)).flatMap(({ pid }) => pid ?? []);
}

const statOf = (pid: number) =>
  textOf(`/proc/${pid}/stat`)
    .replace(/^.*\) /, '')
    .split(' ')
    .map(Number);
/** Whether a process is a unit's: its first, one of its session, or its supervisor. */
const isOf = (pid: number, unit: number) => pid === unit || statOf(pid)[3] === unit || statOf(unit)[1] === pid;

// ---- One case per method

interface Case {
  /** Kinds that the picture must show afterwards: what the case is there to leave. */
  readonly leaves: readonly (Thing | 'kept')[];
  readonly act: () => Promise<unknown>;
  readonly scope?: Partial<PictureScope>;
}
/** Why a method leaves nothing by itself. */
type Reads = string;

const HOST = {
  ref: 'says how to reach it',
  expand: 'asks for the home',
  runtime: 'see below',
  leases: 'see below',
  keptLogs: 'see below',
  picture: 'changes nothing',
  run: [
    {
      leaves: ['process'],
      act: async () => {
        const gone = new AbortController();
        const argv = ['sh', '-c', 'sleep 600; :', 'sh', `${home('.tandem', 'jobs')}/${JOB}`];
        const done = host(gone.signal)
          .run({ argv, timeoutMs: 600_000 })
          .catch(() => undefined);
        await eventually(async () => (await commandsOf('sleep\u0000600')).length > 0);
        ends.push(() => (gone.abort(), done));
      },
    },
  ],
  runAll: 'as run',
  must: 'as run',
  writeFile: [
    { leaves: ['file'], act: () => host().writeFile(`~/.tandem/deployments/${CLUSTER}-3/x-0/config`, 'text') },
    {
      leaves: ['file'],
      act: () => {
        const path = home('.tandem', 'deployments', `${CLUSTER}-3`, 'x-0', 'config');
        return killedAt('^chmod ', path, () => host().writeFile(path, 'text'));
      },
    },
  ],
  fetch: 'a router: see the activity below',
} satisfies Record<keyof Host, readonly Case[] | Reads>;

const DOCKER = {
  kind: 'says which',
  start: [
    { leaves: ['container'], act: () => docker().start(container()) },
    {
      leaves: ['container'],
      act: async () => {
        await sim.setFaults([
          { match: '^docker run', does: 'diesAfter' },
          { match: '^docker rm', does: 'dies' },
        ]);
        await docker()
          .start(container())
          .catch(() => undefined);
        await sim.setFaults([]);
      },
    },
  ],
  find: 'lists',
  stop: [
    {
      leaves: ['container'],
      act: async () => {
        await docker().start(container());
        await docker().stop(container().name, { timeoutSeconds: 1 });
      },
    },
  ],
  restart: [
    {
      leaves: ['container'],
      act: async () => {
        await docker().start(container());
        await docker().stop(container().name, { timeoutSeconds: 1 });
        await docker().restart(container().name);
      },
    },
  ],
  remove: [
    {
      leaves: ['container'],
      act: async () => {
        await docker().start(container());
        await sim.setFaults([{ match: '^docker rm', does: 'dies' }]);
        await docker()
          .remove(container().name)
          .catch(() => undefined);
        await sim.setFaults([]);
      },
    },
  ],
  logs: 'prints',
} satisfies Record<keyof Runtime, readonly Case[] | Reads>;

/** A process that left the group of its job: it is ended with the job. */
const SURVIVOR = 'set -m; sleep 600 & exec sleep 600';

const PROCESS = {
  kind: 'says which',
  start: [
    { leaves: ['job'], act: () => jobs().start(job()) },
    { leaves: ['file'], act: () => killedAt('^mv -T', JOB, () => jobs().start(job())) },
    // The supervisor hangs before it starts anything, and nobody waits for it any more.
    { leaves: ['job', 'process'], act: () => killedAt('^date ', JOB, () => jobs().start(job())) },
  ],
  find: 'lists',
  stop: [
    {
      leaves: ['job'],
      act: async () => {
        await jobs().start(job(SURVIVOR));
        await eventually(async () => (await commandsOf('sleep\u0000600')).length === 2);
        await jobs().stop(JOB, { timeoutSeconds: 1 });
      },
    },
  ],
  restart: [
    {
      leaves: ['job'],
      act: async () => {
        await jobs().start(job(SURVIVOR));
        await eventually(async () => (await commandsOf('sleep\u0000600')).length === 2);
        await jobs().stop(JOB, { timeoutSeconds: 1 });
        await jobs().restart(JOB);
      },
    },
  ],
  remove: [
    {
      leaves: ['file'],
      act: async () => {
        await jobs().start(job());
        await killedAt('^rm -rf -- .*gone', JOB, () => jobs().remove(JOB));
      },
    },
    {
      leaves: [],
      act: async () => {
        await jobs().start(job(SURVIVOR));
        await eventually(async () => (await commandsOf('sleep\u0000600')).length === 2);
        await jobs().remove(JOB);
      },
    },
  ],
  logs: 'prints',
} satisfies Record<keyof Runtime, readonly Case[] | Reads>;

const UNIT = { cluster: CLUSTER, deployment: 3, name: JOB };

const LOGS = {
  keep: [
    { leaves: ['kept'], act: () => host().keptLogs.keep(UNIT, 'the end of a log') },
    { leaves: ['kept'], act: () => killedAt('^mv -f', JOB, () => host().keptLogs.keep(UNIT, 'the end of a log')) },
  ],
  list: 'lists',
  read: 'prints',
  drop: [
    {
      leaves: ['kept'],
      act: async () => {
        await host().keptLogs.keep(UNIT, 'the end of a log');
        await killedAt('^rm -rf', `${CLUSTER}-3`, () => host().keptLogs.drop(CLUSTER));
      },
    },
  ],
} satisfies Record<keyof KeptLogs, readonly Case[] | Reads>;

const LEASES = {
  list: 'lists',
  take: [
    { leaves: ['lease'], act: () => host().leases.take(PCI, OWNER) },
    { leaves: ['file'], act: () => killedAt('^chmod 0664', home('leases'), () => host().leases.take(PCI, OWNER)) },
    {
      leaves: ['file', 'lease'],
      act: () => killedAt(`^ln .*${PCI[1]}`, home('leases'), () => host().leases.take(PCI, OWNER)),
    },
  ],
  release: [
    {
      leaves: ['lease'],
      act: async () => {
        await host().leases.take(PCI, OWNER);
        await killedAt(`^rm -f -- ${PCI[1]}`, home('leases'), () => host().leases.release(PCI, OWNER));
      },
    },
  ],
  breakHeld: 'removes what others left, and keeps who asked for it on purpose',
} satisfies Record<keyof Leases, readonly Case[] | Reads>;

const WEIGHTS = {
  stage: [
    { leaves: ['kept'], act: () => stage() },
    { leaves: ['file'], act: () => endedAt('^df ', () => stage()) },
    {
      // The Temporal worker is lost, and the copy goes on.
      leaves: ['job', 'file'],
      act: async () => {
        const lost = new AbortController();
        const { done } = await hangsAt('^cp ', () => stage(OWNER, lost.signal));
        lost.abort();
        await done;
      },
    },
    {
      // Between the rename of the weights and their mark.
      leaves: ['job', 'file'],
      act: async () => {
        const { done } = await hangsAt('^mv -- complete.json', () => stage());
        process.kill(-pidOf(`tandem-${CLUSTER}-weights-0-3`), 'SIGKILL');
        await sim.setFaults([]);
        await done;
      },
    },
  ],
  halt: [
    {
      leaves: ['job', 'file'],
      act: async () => {
        const { done } = await hangsAt('^cp ', () => stage());
        await weights.halt(host(), PATH, OWNER);
        await sim.setFaults([]);
        await done;
      },
    },
  ],
  drop: [
    {
      leaves: ['file'],
      act: async () => {
        const { done } = await hangsAt('^cp ', () => stage());
        await weights.halt(host(), PATH, OWNER);
        await sim.setFaults([]);
        await done;
        await killedAt(`^rm -rf -- ${home('models')}`, home('models', 'acme', 'tiny', 'main'), () =>
          weights.drop(host(), PATH, OWNER),
        );
      },
    },
  ],
  pin: 'asks the source',
} satisfies Record<keyof Weights, readonly Case[] | Reads>;

const IMAGES = {
  resolveImage: [
    {
      leaves: ['kept'],
      scope: { images: [IMAGE, PULLED] },
      act: () => resolveImage(host(), { reference: PULLED, policy: 'missing', pullTimeoutMs: 60_000 }),
    },
  ],
} satisfies Record<keyof Pick<typeof images, 'resolveImage'>, readonly Case[]>;

/** Lets a command fail the call. */
async function endedAt(match: string, act: () => Promise<unknown>): Promise<void> {
  await sim.setFaults([{ match, does: 'fails' }]);
  await act().catch(() => undefined);
  await sim.setFaults([]);
}

/** Processes of the host whose command line is these words. */
const commandsOf = async (words: string) =>
  (await machine().processes()).filter((pid) => textOf(`/proc/${pid}/cmdline`) === `${words}\0` && alive(pid));

/** What a case left going on in this test, to be waited for. */
let ends: (() => Promise<unknown>)[] = [];
afterEach(() => {
  ends = [];
});

const CASES = Object.entries({
  host: HOST,
  docker: DOCKER,
  process: PROCESS,
  leases: LEASES,
  keptLogs: LOGS,
  weights: WEIGHTS,
  images: IMAGES,
}).flatMap(([noun, methods]) =>
  Object.entries(methods as Record<string, readonly Case[] | Reads>).flatMap(([method, cases]) =>
    typeof cases === 'string' ? [] : cases.map((one, index) => ({ title: `${noun}.${method} ${index}`, ...one })),
  ),
);

describe('whatever a driver creates', () => {
  it.each(CASES)('is in the picture after $title', async ({ leaves, act, scope: more = {} }) => {
    const before = await outside();
    await act();
    const taken = await picture(more);
    await sim.setFaults([]);
    expect(await unseen(before, taken)).toEqual([]);
    const kinds: string[] = [
      ...THINGS.filter((kind) => taken.things[kind]),
      ...(taken.kept.length > 0 ? ['kept'] : []),
    ];
    expect(kinds).toEqual(expect.arrayContaining([...leaves]));
    await Promise.all(ends.map((end) => end()));
  });
});

describe('the picture of a host', () => {
  it('is empty where Tandem never was, also without Docker', async () => {
    const empty = { host: 'gpu-a', things: {}, kept: [] };
    expect(await picture()).toEqual(empty);
    const { scenario } = machine();
    await machine().change({ ...scenario, docker: { ...scenario.docker, state: 'stopped' } });
    expect(await picture({ docker: false, images: [IMAGE] })).toEqual(empty);
    await machine().change(scenario);
  });

  it('is the same byte for byte when nothing changed, and names everything as people read it', async () => {
    await docker().start(container());
    await jobs().start(job());
    await host().leases.take(PCI, OWNER);
    await host().writeFile(`~/.tandem/deployments/${CLUSTER}-3/x-0/config`, 'text');
    const first = await picture();
    expect(first).toEqual({
      host: 'gpu-a',
      things: {
        container: ['tandem-qwen-prefill-0-3 runs'],
        job: ['tandem-qwen-decode-0-3 runs'],
        file: ['', 'x-0/', 'x-0/config'].map((path) => home('.tandem', 'deployments', `${CLUSTER}-3/`) + path),
        lease: PCI.map((pci) => `${pci}, deployment 3 of installation run-1`),
      },
      kept: [],
    });
    expect(JSON.stringify(await picture())).toBe(JSON.stringify(first));
  });

  it('names images and complete weights as kept, with their sizes', async () => {
    const { bytes } = await stage();
    expect(await picture({ images: [IMAGE, 'lab/other:1'] })).toEqual({
      host: 'gpu-a',
      things: {},
      kept: [
        { kind: 'image', what: IMAGE, bytes: 4_000 },
        { kind: 'weights', what: home('models', 'acme', 'tiny', 'main'), bytes },
      ],
    });
  });

  it('shows nothing of other clusters, other installations and other people', async () => {
    const others = [
      { cluster: 'qwen-3', installation: INSTALLATION, deployment: 3 },
      { cluster: 'qwe', installation: INSTALLATION, deployment: 3 },
      { cluster: CLUSTER, installation: 'run-2', deployment: 4 },
    ];
    for (const [index, owner] of others.entries()) {
      await docker().start(container(owner));
      await jobs().start(job(SURVIVOR, owner));
      await host().leases.take([`0000:0${index}:00.0`], owner);
      await host().writeFile(`~/.tandem/deployments/${owner.cluster}-${owner.deployment}/x-0/config`, 'text');
      await endedAt('^cp ', () => stage(owner));
    }
    await jobs().stop(job('', others[0]).name, { timeoutSeconds: 1 });
    await jobs().stop(job('', others[2]).name, { timeoutSeconds: 1 });
    await mkdir(home('models/acme/tiny/main'), { recursive: true });
    await writeFile(home('models/acme/tiny/main/config.json'), 'of a colleague');
    expect(await picture()).toEqual({ host: 'gpu-a', things: {}, kept: [] });
    for (const { cluster, installation } of others) {
      const { things } = await picture({ cluster, installation });
      expect(Object.keys(things)).toEqual(expect.arrayContaining(['container', 'job', 'file', 'lease']));
    }
  });

  it('shows what bears the name of the cluster and no label', async () => {
    await docker().start({ ...container(), labels: {} });
    await mkdir(home('.tandem/jobs/.tandem-qwen-router-0-9.77'), { recursive: true });
    expect((await picture()).things).toEqual({
      container: ['tandem-qwen-prefill-0-3 runs'],
      file: [home('.tandem/jobs/.tandem-qwen-router-0-9.77/')],
    });
  });

  it('shows planned ports on which somebody listens at the host, and no others', async () => {
    const servers = await Promise.all([
      listen(ADDRESS, 30_000),
      listen(ADDRESS, 31_000),
      listen('127.91.1.77', 30_000),
    ]);
    expect((await picture()).things).toEqual({ port: [`${ADDRESS}:30000`] });
    await Promise.all(servers.map(close));
  });

  it('does not take a person who looks at a job for a leftover', async () => {
    await jobs().start(job('exit 0'));
    const look = sim.ssh('gpu-a', `cd .tandem/jobs/${JOB} && tail -f output`, { timeout: 60_000, args: [] });
    await eventually(async () =>
      (await machine().processes()).some((pid) => textOf(`/proc/${pid}/cmdline`).includes('-f\0output')),
    );
    await eventually(async () => (await jobs().find({}))[0]?.running === false);
    expect((await picture()).things).toEqual({ job: [`${JOB} does not run`] });
    for (const pid of await machine().processes()) if (alive(pid)) process.kill(pid, 'SIGTERM');
    await look;
  });
});

describe('what cannot be read is an error:', () => {
  it.each([
    {
      what: 'Docker that does not run',
      match: '^docker ps',
      code: 'COMMAND_FAILED',
      retryable: true,
      stderr: 'Cannot connect to the Docker daemon',
    },
    {
      what: 'an image that Docker does not tell of',
      match: '^docker image',
      code: 'COMMAND_FAILED',
      retryable: false,
      stderr: 'boom',
    },
    { what: 'ports', match: '^ss ', code: 'COMMAND_FAILED', retryable: false, stderr: 'boom' },
    { what: 'files of a deployment', match: '^find qwen-3', code: 'COMMAND_FAILED', retryable: false, stderr: 'boom' },
    {
      what: 'the mark of weights',
      match: `^cat -- .*${MARK}`,
      code: 'COMMAND_FAILED',
      retryable: false,
      stderr: 'boom',
    },
  ])('$what', async ({ match, code, retryable, stderr }) => {
    await host().writeFile(`~/.tandem/deployments/${CLUSTER}-3/x-0/config`, 'text');
    await stage();
    await sim.setFaults([{ match, does: 'fails', stderr }]);
    await expect(picture({ images: [IMAGE] })).rejects.toMatchObject({ code, retryable, host: 'gpu-a' });
  });

  it('a mark that says nothing', async () => {
    const mark = home('models/acme/tiny/main', MARK);
    await mkdir(dirname(mark), { recursive: true });
    await writeFile(mark, 'half');
    await expect(picture()).rejects.toMatchObject({ code: 'WEIGHTS_CORRUPT' });
  });

  it('leases', async () => {
    await writeFile(home('leases'), 'no folder');
    await expect(picture()).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    await rm(home('leases'));
  });
});

describe('the entries of a router', () => {
  const pictured = (url: string) => {
    const router = { ...aRouter({ host: 'gpu-a', address: ADDRESS }), url };
    return createPictureActivities(drivers).pictureHost({
      ref: ref(),
      scope: scope({ ports: [] }),
      router: { router, routerRef: ref() },
    });
  };
  const entry = { id: '1', url: 'http://10.0.0.1:30000', worker_type: 'decode', is_healthy: true, pd_pairing: 'gen-1' };

  it('are in the picture by URL and pairing key', async () => {
    const server = await listen(ADDRESS, 30_500, { workers: [entry] });
    expect((await pictured(`http://${ADDRESS}:30500`)).things).toEqual({
      'router-entry': ['http://10.0.0.1:30000 under key gen-1'],
    });
    await close(server);
  });

  it('are none where the router does not answer', async () => {
    expect((await pictured(`http://${ADDRESS}:30501`)).things).toEqual({});
  });

  it('are an error where the router refuses to tell', async () => {
    const server = await listen(ADDRESS, 30_502, { error: 'who are you' }, 401);
    await expect(pictured(`http://${ADDRESS}:30502`)).rejects.toMatchObject({ code: 'ROUTER_FAILED' });
    await close(server);
  });
});

async function listen(address: string, port: number, answer: object = {}, status = 200): Promise<Server> {
  const server = createServer((_, response) =>
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer)),
  );
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  return server;
}

const close = (server: Server) =>
  new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
