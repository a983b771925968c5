import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import Long from 'long';
import { CLI, ROOT, toNobody } from '../support/cli.ts';
import { SITE, startOperations, type Operations } from '../support/memory-temporal.ts';
import { alive, eventually, until } from '../support/processes.ts';
import { aSpec } from '../support/specs.ts';
import { CTRL_C, onTerminal } from '../support/terminal.ts';

/** The CLI at a terminal and in pipes, beside a real Temporal server; the hosts are only state. */
const DIRECT = [process.execPath, CLI];
const NPX = ['npx', '--no-install', 'tandem'];
const LIMIT_MS = 180_000;

const specOf = (name: string) => aSpec({ name, site: SITE });
let operations: Operations;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-session-'));
  operations = await startOperations();
  operations.open(specOf('served'));
  await operations.run(specOf('served'));
}, LIMIT_MS);
afterAll(async () => {
  await operations?.close();
  await rm(folder, { recursive: true, force: true });
}, LIMIT_MS);

const env = () => ({ TEMPORAL_ADDRESS: operations.env.address, TEMPORAL_NAMESPACE: 'default', TANDEM_ACTOR: 'ada' });
const tandem = (...args: readonly string[]) => execa(process.execPath, [CLI, ...args], { env: env(), reject: false });
const typing = (argv: readonly string[], answers: readonly (readonly [string, string])[]) =>
  onTerminal(argv, answers, { env: env(), cwd: ROOT, timeoutMs: LIMIT_MS });

/** A cluster whose deploy lasts until its site is released, and the file of its spec. */
async function held(name: string) {
  const spec = specOf(name);
  const site = operations.open(spec);
  site.trouble({ at: ({ activity }) => activity === 'startRank', what: 'waits' });
  const file = join(folder, `${name}.yaml`);
  await writeFile(file, JSON.stringify(spec)); // JSON is YAML.
  return {
    file,
    /** The operation that runs, which then goes to its end. */
    goneOn: async () => {
      const { running } = await operations.client.record(name);
      site.release();
      return { by: running!.by, ...(await operations.ended(name, running!)) };
    },
  };
}
/** What a deploy has shown when it waits in `held`. */
const WAITS = 'check-rocm +done';

describe('Ctrl-C while an operation is followed', () => {
  it.each([
    ['tandem', DIRECT],
    ['npx tandem', NPX],
  ])(
    'gives the prompt back while the operation goes on, by `%s`: exit code 6, saying how to see and end it',
    async (how, argv) => {
      const name = how.replace(' ', '-');
      const { file, goneOn } = await held(name);
      const { output, ...end } = await typing([...argv, 'deploy', file], [[WAITS, CTRL_C]]);
      expect(end).toEqual({ exitCode: 6, missed: [] });
      const end_ = `Detached: ${name} goes on. See \`tandem status ${name} --watch\`, end it with \`tandem cancel ${name}\`.`;
      expect(output).toContain(end_);
      expect(await goneOn()).toMatchObject({ by: 'ada', outcome: 'succeeded' });
    },
    LIMIT_MS,
  );

  it(
    'prints one JSON document where that is asked for',
    async () => {
      const { file, goneOn } = await held('in-json');
      const child = tandem('deploy', file, '--json');
      await new Promise<void>((resolve) => {
        let seen = '';
        child.stderr.on('data', (text) => new RegExp(WAITS).test((seen += String(text))) && resolve());
      });
      child.kill('SIGINT');
      const { exitCode, stdout } = await child;
      expect([exitCode, JSON.parse(stdout)]).toEqual([
        6,
        { deployment: 1, workflowId: 'deploy/in-json/1', detached: true },
      ]);
      await goneOn();
    },
    LIMIT_MS,
  );

  it(
    'is what a reader that has gone comes to: the operation goes on, and the exit code is 6',
    async () => {
      const { file, goneOn } = await held('unread');
      const line = '"$@" 2>&1 | head -1; echo "exit ${PIPESTATUS[0]}"';
      const { stdout, stderr } = await execa('bash', ['-c', line, 'bash', ...DIRECT, 'deploy', file], { env: env() });
      expect([stdout, stderr]).toEqual([
        expect.stringMatching(/^deploy unread: deployment 1 admitted .*\nexit 6$/),
        '',
      ]);
      expect(await goneOn()).toMatchObject({ outcome: 'succeeded' });
    },
    LIMIT_MS,
  );
});

describe('a verb that only shows', () => {
  it.each([['list'], ['history served'], ['status served'], ['status served --watch']])(
    '`%s` ends without a word and with exit code 0 when its reader has gone',
    async (verb) => expect(await toNobody(verb.split(' '), env())).toEqual({ stderr: '', stdout: 'exit 0' }),
    LIMIT_MS,
  );

  it(
    '`status --watch` ends when its reader goes although nothing changes, and by Ctrl-C, with exit code 0',
    async () => {
      const line = '"$@" | head -1; echo "exit ${PIPESTATUS[0]}"';
      const argv = ['-c', line, 'bash', ...DIRECT, 'status', 'served', '--watch'];
      const { stdout, stderr } = await execa('bash', argv, { env: env() });
      expect([stdout, stderr]).toEqual([expect.stringMatching(/^served {2}serving\nexit 0$/), '']);
      const { output, ...end } = await typing(
        [...DIRECT, 'status', 'served', '--watch'],
        [['served +serving', CTRL_C]],
      );
      expect(end).toEqual({ exitCode: 0, missed: [] });
      expect(output.split('\n').at(-1)!.replace('^C', '')).toBe(''); // The terminal itself shows ^C.
    },
    LIMIT_MS,
  );
});

describe('a misspelt cluster', () => {
  it.each([['destroy', '--yes'], ['cancel'], ['status'], ['history'], ['logs'], ['forget', '--yes']])(
    'in `%s` is told with the nearest known one, and nothing is made of it',
    async (verb, ...options) => {
      const { exitCode, stdout } = await tandem(verb, 'servde', ...options, '--json');
      expect([exitCode, JSON.parse(stdout)]).toEqual([
        1,
        {
          error: expect.objectContaining({
            code: 'CLUSTER_UNKNOWN',
            message: 'no cluster servde is known; did you mean served?',
          }),
        },
      ]);
      // Temporal's list is late; a workflow that was ever started can be described at once.
      const made = operations.env.client.workflow.getHandle('cluster/servde').describe();
      await expect(made).rejects.toMatchObject({ name: 'WorkflowNotFoundError' });
    },
    LIMIT_MS,
  );
});

describe('a second Ctrl-C', () => {
  it(
    'ends a Temporal worker that the first one did not end',
    async () => {
      const namespace = 'second';
      const { workflowService } = operations.env.connection;
      const workflowExecutionRetentionPeriod = { seconds: Long.fromNumber(90 * 86_400) };
      await workflowService.registerNamespace({ namespace, workflowExecutionRetentionPeriod });
      const worker = execa(process.execPath, [CLI, 'worker'], {
        env: { ...env(), TEMPORAL_NAMESPACE: namespace },
        reject: false,
      });
      const children = `/proc/${worker.pid}/task/${worker.pid}/children`;
      const child = await eventually(async () => Number(await readFile(children, 'utf8').catch(() => '')) || undefined);
      await new Promise<void>((resolve) => worker.stderr.once('data', () => resolve()));
      process.kill(child, 'SIGSTOP'); // It takes no notice of anything but SIGKILL.
      // What comes within half a second is one press, since npx passes on what the terminal has sent too.
      const gone = () => !alive(child) || (worker.kill('SIGINT'), false);
      await until('the worker is gone', gone, { limitMs: LIMIT_MS, everyMs: 100 });
      await worker;
    },
    LIMIT_MS,
  );
});

// Last, since it ends the cluster that the others look at.
describe('destroy and forget on a terminal', () => {
  it(
    'ask for the name, do nothing for another one or Ctrl-C, and go on for the right one',
    async () => {
      const question = 'Type served to go on: ';
      for (const typed of ['serve\r', CTRL_C, '\x04']) {
        const refused = await typing([...DIRECT, 'destroy', 'served'], [[question, typed]]);
        expect(refused).toMatchObject({ exitCode: 2, missed: [] });
        expect(refused.output).toContain('served was not typed; nothing was done');
      }
      expect(await operations.client.record('served')).toMatchObject({ state: 'serving', lastDeployment: 1 });
      const destroyed = await typing([...DIRECT, 'destroy', 'served'], [[question, 'served\r']]);
      expect(destroyed).toMatchObject({ exitCode: 0, missed: [] });
      expect(destroyed.output).toMatch(/served is serving: 2 engines of tandem\/tiny-chat at http\S+ stop;/);
      const forgotten = await typing([...DIRECT, 'forget', 'served'], [[question, 'served\r']]);
      expect(forgotten).toMatchObject({ exitCode: 0, missed: [] });
      expect(forgotten.output).toContain('served is forgotten');
    },
    LIMIT_MS,
  );
});
