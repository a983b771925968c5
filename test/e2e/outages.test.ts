import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { execa } from 'execa';
import pLimit from 'p-limit';
import { specDigest } from '../../src/spec/canonical.ts';
import { clusterWorkflowId, WORKFLOW_QUEUE } from '../../src/operations/names.ts';
import { some } from '../support/choice.ts';
import { CLI, runCli } from '../support/cli.ts';
import { ANSWER_MS, patient, START_MS } from '../support/patience.ts';
import { until } from '../support/processes.ts';
import { aSpec } from '../support/specs.ts';
import { startTemporal } from '../support/temporal.ts';
import { startTemporalStack, type StackProcess, type TemporalStack } from '../support/temporal-stack.ts';

/**
 * Every verb in every outage: it is called by its name, nothing hangs, and nothing that an operator can cause is called a
 * fault in Tandem. A choice of them; all by `npm run test:exhaustive`, which prints the table of OUTAGES_TABLE=1.
 */
const spec = aSpec({ name: 'known' });
let folder: string;
let env: TestWorkflowEnvironment;
let hole: Server;
const sockets = new Set<Socket>();

interface Answer {
  readonly error?: { readonly code: string; readonly message: string; readonly remedy: string };
}

const FILE = () => join(folder, 'known.yaml');
const VERBS: Readonly<Record<string, () => readonly string[]>> = {
  deploy: () => ['deploy', FILE()],
  plan: () => ['plan', FILE()],
  check: () => ['check', FILE()],
  adopt: () => ['adopt', FILE()],
  destroy: () => ['destroy', 'known', '--yes'],
  'destroy --spec': () => ['destroy', 'known', '--yes', '--spec', FILE()],
  cancel: () => ['cancel', 'known'],
  'cancel --force': () => ['cancel', 'known', '--force'],
  forget: () => ['forget', 'known', '--yes'],
  status: () => ['status', 'known'],
  history: () => ['history', 'known'],
  logs: () => ['logs', 'known'],
  list: () => ['list'],
  'lease list': () => ['lease', 'list', FILE()],
  'lease break': () => ['lease', 'break', FILE(), '--host', spec.hosts.list[0]!.name, '--reason', 'x'],
};

interface Outage {
  /** How the CLI finds its Temporal server. */
  readonly env: () => Readonly<Record<string, string>>;
  readonly codes: readonly string[];
}

const OUTAGES: Readonly<Record<string, Outage>> = {
  'no server': { env: () => ({ TEMPORAL_ADDRESS: '127.0.0.1:1' }), codes: ['TEMPORAL_UNREACHABLE'] },
  'a server that answers nothing any more': {
    env: () => ({ TEMPORAL_ADDRESS: addressOf(hole) }),
    codes: ['TEMPORAL_UNREACHABLE'],
  },
  'no Temporal worker': { env: () => ({ TEMPORAL_ADDRESS: env.address }), codes: ['NO_WORKER'] },
  'a namespace that is not there': {
    env: () => ({ TEMPORAL_ADDRESS: env.address, TEMPORAL_NAMESPACE: 'nowhere' }),
    codes: ['NAMESPACE_UNKNOWN'],
  },
  'a server that speaks no TLS': {
    env: () => ({ TEMPORAL_ADDRESS: env.address, TEMPORAL_TLS: 'true' }),
    codes: ['TEMPORAL_UNREACHABLE'],
  },
};

const addressOf = (server: Server) => {
  const address = server.address();
  return `127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`;
};

/** A server of which the network falls silent once it has said that it is there. */
function silentAfterHello(): Server {
  return createServer((near) => {
    const [host, port] = env.address.split(':');
    const far = connect(Number(port), host);
    let answers = 0;
    for (const socket of [near, far]) sockets.add(socket.on('error', () => {}));
    near.on('data', (chunk) => {
      if (answers < HELLO_ANSWERS) far.write(chunk);
    });
    far.on('data', (chunk) => {
      if (answers < HELLO_ANSWERS) near.write(chunk);
      answers += 1;
    });
  });
}

/** Packets in which the server's settings and its first answer come. */
const HELLO_ANSWERS = 1;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-outages-'));
  await writeFile(FILE(), JSON.stringify(spec)); // JSON is YAML.
  env = await startTemporal();
  await env.client.workflow.start('cluster', {
    workflowId: clusterWorkflowId('known'),
    taskQueue: WORKFLOW_QUEUE,
    args: [{ cluster: 'known' }],
  });
  hole = silentAfterHello();
  await new Promise<void>((resolve) => hole.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => hole?.close(resolve) ?? resolve(undefined));
  await env?.teardown();
  await rm(folder, { recursive: true, force: true });
});

const pairs = some(
  Object.keys(OUTAGES).flatMap((outage) => Object.keys(VERBS).map((verb) => ({ outage, verb }))),
  6,
);
const limit = pLimit(4);
const table: string[] = [];

describe('an outage', () => {
  it.concurrent.each(pairs)('$outage: $verb says so and ends with exit code 4', ({ outage, verb }) =>
    limit(async () => {
      const { env: where, codes } = OUTAGES[outage]!;
      const begun = performance.now();
      const { exitCode, stdout, stderr } = await runCli(VERBS[verb]!(), {
        address: '',
        timeoutMs: ANSWER_MS,
        env: where(),
      });
      const seconds = ((performance.now() - begun) / 1000).toFixed(1);
      const { error } = JSON.parse(stdout || '{}') as Answer;
      table.push(`| ${verb} | ${outage} | ${error?.code} | ${exitCode} | ${seconds} |`);
      expect({ code: error?.code, exitCode, stderr }).toEqual({
        code: expect.stringMatching(codes.join('|')),
        exitCode: 4,
        stderr: expect.any(String),
      });
      expect(`${error?.message} ${error?.remedy}`).not.toContain('fault in Tandem');
      expect(error?.remedy).not.toBe('');
      expect(performance.now() - begun).toBeLessThan(patient(45_000)); // Nothing hangs: a request is valid for 20 s.
    }),
  );
});

/** Verbs that wait for hosts, and the outage that comes while they do; `follows` are told of it, and go on. */
const WAITING: Readonly<
  Record<string, { readonly args: (file: string, name: string) => readonly string[]; readonly follows?: true }>
> = {
  plan: { args: (file) => ['plan', file] },
  check: { args: (file) => ['check', file] },
  adopt: { args: (file) => ['adopt', file] },
  'lease list': { args: (file) => ['lease', 'list', file] },
  'lease break': { args: (file) => ['lease', 'break', file, '--host', 'p0', '--reason', 'x'] },
  deploy: { args: (file) => ['deploy', file], follows: true },
  'destroy --spec': { args: (file, name) => ['destroy', name, '--yes', '--spec', file], follows: true },
};
/** Verbs that are asked in the moment after: Temporal still lists the Temporal worker that was killed. */
const AFTER = ['status', 'history', 'logs', 'list', 'cancel', 'forget', 'destroy'];

const KILLED = {
  'server killed half-way': { process: 'server', code: 'TEMPORAL_UNREACHABLE' },
  'worker killed half-way': { process: 'worker', code: 'NO_WORKER' },
} as const;

describe('an outage that comes while a verb waits:', () => {
  let stack: TemporalStack;
  let home: string;
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'tandem-half-way-'));
    stack = await startTemporalStack(home);
    await stack.client.adopt('known', {
      spec,
      specDigest: specDigest(spec),
      actor: 'tester',
      installation: 'run-0',
      lastDeployment: 1,
      serving: null,
    });
  });
  afterAll(async () => {
    await stack?.stop();
    await rm(home, { recursive: true, force: true });
  });
  const cases = Object.keys(KILLED).flatMap((outage) =>
    [...Object.keys(WAITING), ...AFTER].map((verb) => ({ outage: outage as keyof typeof KILLED, verb })),
  );
  let clusters = 0;

  /** Runs a verb; hosts answer nothing, and once one was called, or else at once, the process is killed. */
  const run = async (verb: string, killed: StackProcess) => {
    const name = `half${(clusters += 1)}`;
    const file = join(folder, `${name}.yaml`);
    const mute = createServer((socket) => sockets.add(socket.on('error', () => {})));
    await new Promise<void>((resolve) => mute.listen(0, resolve));
    const list = spec.hosts.list.map((host, index) => ({ ...host, address: `127.0.0.${index + 1}` }));
    const ssh = { ...spec.hosts.ssh, port: Number(addressOf(mute).split(':')[1]) };
    await writeFile(file, JSON.stringify({ ...spec, name, hosts: { ...spec.hosts, ssh, list } }));
    const { args, follows } = WAITING[verb] ?? { args: () => VERBS[verb]!() };
    if (!WAITING[verb]) await killed.kill();
    const child = execa(process.execPath, [CLI, ...args(file, name), '--json'], {
      env: { TEMPORAL_ADDRESS: stack.address, TEMPORAL_NAMESPACE: 'default' },
      reject: false,
      timeout: START_MS,
    });
    let begun = performance.now();
    let told = '';
    child.stderr.on('data', (chunk: Buffer) => (told += chunk.toString()));
    if (WAITING[verb]) {
      const called = new Promise<boolean>((resolve) => mute.once('connection', () => resolve(true)));
      expect(await Promise.race([called, child])).toBe(true);
      begun = performance.now();
      await killed.kill();
    }
    if (follows) {
      await until('it is told', () => /^ {2}no (?:answer|worker) /m.test(told), { limitMs: patient(30_000) });
      child.kill('SIGINT');
    }
    const { exitCode, stdout } = await child;
    mute.close();
    return {
      exitCode,
      follows,
      told,
      seconds: (performance.now() - begun) / 1000,
      answer: JSON.parse(stdout) as Answer,
    };
  };

  it.each(some(cases, 9, 5))('$outage: $verb says so and ends', async ({ outage, verb }) => {
    const { process: which, code } = KILLED[outage];
    const { exitCode, follows, told, seconds, answer } = await run(verb, stack[which]).finally(async () => {
      if (!stack[which].running) await stack[which].start();
    });
    table.push(`| ${verb} | ${outage} | ${answer.error?.code ?? 'told'} | ${exitCode} | ${seconds.toFixed(1)} |`);
    expect(`${told} ${answer.error?.message} ${answer.error?.remedy}`).not.toMatch(/fault in Tandem|^ +at /m);
    if (follows) expect({ exitCode, answer }).toMatchObject({ exitCode: 6, answer: { detached: true } });
    else expect({ exitCode, answer, told }).toMatchObject({ exitCode: 4, answer: { error: { code } } });
    expect(seconds).toBeLessThan(patient(45));
  });

  afterAll(() => {
    if (process.env['OUTAGES_TABLE'])
      process.stdout.write(
        `| verb | outage | code | exit code | seconds |\n|---|---|---|---|---|\n${table.toSorted().join('\n')}\n`,
      );
  });
});
