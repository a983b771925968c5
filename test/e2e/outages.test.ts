import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import pLimit from 'p-limit';
import { clusterWorkflowId, WORKFLOW_QUEUE } from '../../workflows/messages.ts';
import { some } from '../support/choice.ts';
import { runCli } from '../support/cli.ts';
import { ANSWER_MS, patient } from '../support/patience.ts';
import { aSpec } from '../support/specs.ts';
import { startTemporal } from '../support/temporal.ts';

/**
 * Every verb in every outage: it is called by its name, nothing hangs, and nothing that an operator can cause is called a
 * fault in Tandem. A choice of them; all by `npm run test:exhaustive`, which prints the table of OUTAGES_TABLE=1.
 */
const spec = aSpec({ name: 'known' });
let folder: string;
let env: TestWorkflowEnvironment;
let hole: Server;
const sockets = new Set<Socket>();

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
      const { error } = JSON.parse(stdout || '{}') as { error?: { code: string; message: string; remedy: string } };
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

  afterAll(() => {
    if (process.env['OUTAGES_TABLE'])
      process.stdout.write(
        `| verb | outage | code | exit code | seconds |\n|---|---|---|---|---|\n${table.toSorted().join('\n')}\n`,
      );
  });
});
