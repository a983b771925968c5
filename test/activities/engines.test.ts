import { access, readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createEngineActivities } from '../../activities/engines.ts';
import type { DeployError } from '../../src/errors.ts';
import { until } from '../support/processes.ts';
import { localDrivers, localHost, type InProcess, type LocalHost } from '../support/local-host.ts';
import { anEngine } from '../support/plan-rows.ts';
import { standIn, type Answers, type StandIn } from '../support/stand-in-engine.ts';

const ADDRESS = '127.84.1.1';
const OTHER = '127.84.1.2';
const owner = { cluster: 'c', installation: 'inst' };
const GOOD_LOG = [
  '[2026-11-24 16:00:00] server_args=ServerArgs(...)',
  '[2026-11-24 16:00:00] CommonKVBootstrapServer started successfully on 127.84.1.1:8998',
  '[2026-11-24 16:00:10] Uvicorn running on http://127.84.1.1:30000 (Press CTRL+C to quit)',
];

/** How the next engine behaves: a stand-in that answers, or nothing but a log and an exit code. */
let program: (log: (line: string) => void, port: number, address: string) => InProcess;
let engines: StandIn[] = [];
let hosts: LocalHost[] = [];

const answering =
  (answers: Answers = {}, log: readonly string[] = GOOD_LOG, role: 'prefill' | 'decode' = 'prefill') =>
  (say: (line: string) => void, port: number, address: string): InProcess => {
    const engine = standIn(address, port, role, answers);
    engines.push(engine);
    log.forEach(say);
    return engine;
  };
const dying =
  (code: number, ...log: string[]) =>
  (say: (line: string) => void): InProcess => {
    log.forEach(say);
    return { exited: Promise.resolve(code), signal: () => {} };
  };
const silent = (): InProcess => {
  let end!: (code: number) => void;
  return { exited: new Promise((resolve) => (end = resolve)), signal: (name) => end(name === 'SIGKILL' ? 137 : 0) };
};

beforeEach(async () => {
  engines = [];
  const make = (name: string, address: string) =>
    localHost(name, address, (unit, log) => program(log, Number(unit.argv.at(-1)), address));
  hosts = [await make('h0', ADDRESS), await make('h1', OTHER)];
});
afterEach(async () => {
  await Promise.all(hosts.map((host) => host.close()));
  for (const engine of engines) engine.exit(0);
  await Promise.all(engines.map(({ exited }) => exited));
});

const secrets = { KEY: 'key "quoted" ü', ADMIN: 'admin-secret', TOKEN: 'hf_secret' };
const activities = () => createEngineActivities(localDrivers(hosts, secrets), (text) => text, { pollMs: 10 });
const prefill = (rest: Partial<Parameters<typeof anEngine>[1]> = {}) =>
  anEngine('prefill', { host: 'h0', address: ADDRESS, ...rest });
const start = async (engine = prefill(), rank = 0) =>
  await activities().startRank({ ref: hosts[rank]!.ref, engine, rank, ...owner });
const wait = async (engine = prefill()) =>
  await activities().awaitEngine({ refs: hosts.map(({ ref }) => ref), engine, ...owner });
const failure = async (promise: Promise<unknown>): Promise<DeployError> =>
  await promise.then(
    () => {
      throw new Error('it succeeded');
    },
    (error: DeployError) => error,
  );
const unit = (engine = prefill()) => ({
  ref: hosts[0]!.ref,
  name: engine.name,
  runtime: 'process' as const,
  rank: 0,
  deployment: 1,
  ...owner,
});

describe('starting a rank', () => {
  it('starts it once however often it is asked, under labels that say what it is', async () => {
    program = answering();
    await start();
    await start();
    const [only, ...more] = hosts[0]!.units.values();
    expect(more).toEqual([]);
    expect(only!.starts).toBe(1);
    expect(only!.spec.labels).toEqual({
      'tandem.cluster': 'c',
      'tandem.kind': 'engine',
      'tandem.role': 'prefill',
      'tandem.index': '0',
      'tandem.rank': '0',
      'tandem.engine': 'digest-of-tandem-c-prefill-0-1',
      'tandem.deployment': '1',
      'tandem.installation': 'inst',
      'tandem.gpus': '0',
      'tandem.nics': 'bnxt_re0',
      'tandem.generation': 'kv-0123456789ab',
      'tandem.url': `http://${ADDRESS}:30000`,
    });
    expect(only!.spec.argv).toContain(`${hosts[0]!.home}/models/m`);
  });

  it('refuses when something else listens on one of its ports, and starts nothing', async () => {
    const other = createServer().listen(30007, ADDRESS);
    await new Promise((resolve) => other.once('listening', resolve));
    const engine = prefill();
    const busy = { ...engine, ranks: [{ ...engine.ranks[0]!, ports: [30000, 30007] }] };
    expect(await failure(start(busy))).toMatchObject({
      code: 'PORT_TAKEN',
      host: 'h0',
      message: expect.stringContaining(`${ADDRESS}:30007`),
      remedy: expect.stringContaining('engine.ports'),
    });
    expect(hosts[0]!.units.size).toBe(0);
    other.close();
  });

  it('does not mistake its own running engine for a taken port', async () => {
    program = answering();
    await start();
    await engines[0]!.listening;
    await start();
    expect(hosts[0]!.units.get(prefill().name)!.starts).toBe(1);
  });

  it('refuses a name that another installation holds, and leaves its file with keys alone', async () => {
    program = answering();
    await start();
    const error = await failure(
      activities().startRank({ ref: hosts[0]!.ref, engine: prefill(), rank: 0, cluster: 'c', installation: 'other' }),
    );
    expect(error).toMatchObject({
      code: 'NAME_CONFLICT',
      host: 'h0',
      message: expect.stringContaining('inst'),
    });
  });

  it('hands keys over in a file that only its owner reads, and secrets in the environment', async () => {
    program = answering();
    const plain = prefill();
    const [rank] = plain.ranks;
    const engine = {
      ...plain,
      apiKey: { fromEnv: 'KEY' },
      adminKey: { fromEnv: 'ADMIN' },
      ranks: [
        {
          ...rank!,
          argv: [...rank!.argv.slice(0, 3), '--config', '{config}', '--port', '30000'],
          secretEnv: { HF_TOKEN: { fromEnv: 'TOKEN' } },
        },
      ],
    };
    await start(engine);
    const { argv, env } = hosts[0]!.units.get(engine.name)!.spec;
    const path = `${hosts[0]!.home}/.tandem/deployments/c-1/${engine.name}-0/keys.yaml`;
    expect(argv).toContain(path);
    expect(argv.join(' ')).not.toMatch(/quoted|admin-secret|hf_secret/);
    expect(env).toEqual({ HF_TOKEN: 'hf_secret' });
    expect(await readFile(path, 'utf8')).toBe('api-key: "key \\"quoted\\" ü"\nadmin-api-key: "admin-secret"\n');
    expect((await stat(path)).mode & 0o777).toBe(0o600);

    await activities().removeRank(unit(engine));
    await expect(access(`${hosts[0]!.home}/.tandem/deployments/c-1`)).rejects.toThrow('ENOENT');
  });

  it('starts nothing when a secret does not resolve', async () => {
    program = answering();
    const engine = prefill();
    const ranks = [{ ...engine.ranks[0]!, secretEnv: { HF_TOKEN: { fromEnv: 'NOT_THERE' } } }];
    expect(await failure(start({ ...engine, ranks }))).toMatchObject({ code: 'SECRET_MISSING' });
    expect(hosts[0]!.units.size).toBe(0);
  });
});

describe('awaiting an engine', () => {
  it('waits through 503s until a token was generated', async () => {
    program = answering({ ready: 503 });
    await start();
    const ready = wait();
    await engines[0]!.listening;
    engines[0]!.answers = { ready: 200, health: 503 };
    const before = hosts[0]!.fetched;
    await until('it is asked with health at 503', () => hosts[0]!.fetched > before + 2);
    engines[0]!.answers = {};
    expect(await ready).toMatchObject({ name: prefill().name, version: '0.5.23' });
  });

  it('takes an SGLang that has no /ready by the token that it generates', async () => {
    program = answering({ ready: 404, health: 503 });
    await start();
    const ready = wait();
    await engines[0]!.listening;
    const before = hosts[0]!.fetched;
    await until('it is asked with health at 503', () => hosts[0]!.fetched > before + 2);
    engines[0]!.answers = { ready: 404 };
    expect(await ready).toMatchObject({ name: prefill().name });
  });

  it.each([
    ['an open port that answers 503 on /ready', { ready: 503 }, GOOD_LOG, '/ready answered 503'],
    ['/ready alone, while no token can be generated', { health: 503 }, GOOD_LOG, '/health_generate answered 503'],
    [
      'health without the line that its own bootstrap server started',
      {},
      GOOD_LOG.filter((line) => !line.includes('Bootstrap')),
      'BootstrapServer started',
    ],
    [
      'health that another process may have answered, its own HTTP server never having started',
      {},
      GOOD_LOG.filter((line) => !line.includes('Uvicorn')),
      'Uvicorn',
    ],
  ])('does not trust %s', async (_, answers, log, last) => {
    program = answering(answers, log);
    await start();
    const error = await failure(wait(prefill({ readyTimeoutSeconds: 0.3 })));
    expect(error).toMatchObject({ code: 'ENGINE_NOT_READY', retryable: false, host: 'h0' });
    expect(error.message).toContain(last);
    expect(error.message).toContain('engine.readyTimeoutSeconds is 0.3');
  });

  it('takes a log that does not show the start for unreadable, not for a proof of failure', async () => {
    program = answering({}, ['some warning']);
    await start();
    expect(await wait()).toMatchObject({ name: prefill().name });
  });

  it('names the taken port of an engine that says ready nevertheless', async () => {
    const line = 'Server error: [Errno 98] error while attempting to bind on address: address already in use';
    program = answering({}, [...GOOD_LOG, line]);
    await start();
    expect(await failure(wait())).toMatchObject({ code: 'PORT_TAKEN', host: 'h0', evidence: line });
  });

  it('refuses an engine that says the other role', async () => {
    program = answering({ role: 'decode' });
    await start();
    expect(await failure(wait())).toMatchObject({
      code: 'ENGINE_WRONG',
      message: expect.stringContaining('says its role is "decode", the plan has "prefill"'),
      remedy: expect.stringContaining('prefill.args'),
    });
  });

  it('refuses an engine that serves another model name', async () => {
    program = answering({ model: 'another' });
    await start();
    expect(await failure(wait())).toMatchObject({
      code: 'ENGINE_WRONG',
      message: expect.stringContaining('"another"'),
    });
  });

  it('fails when the unit ends in the very moment in which something on its port says all that is wanted', async () => {
    let end!: (code: number) => void;
    const exited = new Promise<number>((resolve) => (end = resolve));
    const foreign = standIn(ADDRESS, 30000, 'prefill', {
      async asked(path) {
        if (path !== '/v1/loads') return;
        end(137);
        await exited;
      },
    });
    engines.push(foreign);
    await foreign.listening;
    program = (say) => {
      GOOD_LOG.forEach(say);
      return { exited, signal: () => end(137) };
    };
    const engine = prefill();
    await start({ ...engine, ranks: [{ ...engine.ranks[0]!, ports: [] }] });
    expect(await failure(wait())).toMatchObject({
      code: 'ENGINE_EXITED',
      message: expect.stringContaining('137'),
    });
  });

  it('fails when the unit was restarted while it was awaited', async () => {
    program = silent;
    await start();
    const waiting = failure(wait());
    await until('the unit was seen, and asked', () => hosts[0]!.fetched > 0);
    const { state } = hosts[0]!.units.get(prefill().name)!;
    hosts[0]!.units.get(prefill().name)!.state = { ...state, pid: 4242 };
    expect(await waiting).toMatchObject({ code: 'ENGINE_EXITED', message: expect.stringContaining('4242') });
  });

  it('fails when somebody removed the unit', async () => {
    expect(await failure(wait())).toMatchObject({
      code: 'ENGINE_EXITED',
      message: expect.stringContaining('not on h0 any more'),
    });
  });

  it('counts its limit from the start of the unit, not of the waiting', async () => {
    program = answering({ ready: 503 });
    await start();
    const { state } = hosts[0]!.units.get(prefill().name)!;
    hosts[0]!.units.get(prefill().name)!.state = {
      ...state,
      startedAt: new Date(Date.now() - 3_600_000).toISOString(),
    };
    const error = await failure(wait());
    expect(error.code).toBe('ENGINE_NOT_READY');
    expect(error.message).toMatch(/(3599|36\d\d) s after its start/);
  });

  it('fails when rank 1 dies, on its host and with its log, while rank 0 goes on starting', async () => {
    const engine = prefill();
    const second = { ...engine.ranks[0]!, rank: 1, host: 'h1', ports: [] };
    const both = { ...engine, ranks: [engine.ranks[0]!, second] };
    program = answering({ ready: 503 });
    await start(both, 0);
    program = dying(1, 'torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB');
    await start(both, 1);
    expect(await failure(wait(both))).toMatchObject({
      code: 'ENGINE_EXITED',
      host: 'h1',
      message: expect.stringContaining('rank 1 on h1'),
      remedy: expect.stringContaining('mem-fraction-static'),
    });
  });

  it('keeps secrets out of the evidence, those that the log prints escaped too, and the evidence short', async () => {
    program = dying(
      1,
      `server_args=ServerArgs(api_key='it\\'s escaped', admin_api_key="admin-secret", port=1)`,
      ...Array.from({ length: 300 }, () => 'noise noise noise'),
      `token hf_secret and key ${secrets.KEY}`,
    );
    const engine = { ...prefill(), apiKey: { fromEnv: 'KEY' }, adminKey: { fromEnv: 'ADMIN' } };
    const withToken = { ...engine, ranks: [{ ...engine.ranks[0]!, secretEnv: { HF_TOKEN: { fromEnv: 'TOKEN' } } }] };
    await start(withToken);
    const { evidence } = await failure(wait(withToken));
    expect(evidence).toMatch(/token \[redacted\] and key \[redacted\]$/);
    expect(evidence!.length).toBeLessThanOrEqual(2048);

    hosts[0]!.units.get(engine.name)!.lines.splice(1, 300);
    const shorter = await failure(wait(withToken));
    expect(shorter.evidence).toContain("api_key='[redacted]', admin_api_key='[redacted]', port=1");
    expect(shorter.evidence).not.toMatch(/escaped|admin-secret|hf_secret|quoted/);
  });
});

describe('ending a rank', () => {
  it('stops, restarts and removes it, each also twice', async () => {
    program = answering();
    await start();
    const activity = activities();
    const state = () => hosts[0]!.units.get(prefill().name)?.state.running;
    await activity.stopRank({ ...unit(), timeoutSeconds: 1 });
    await activity.stopRank({ ...unit(), timeoutSeconds: 1 });
    expect(state()).toBe(false);
    await activity.restartRank(unit());
    await activity.restartRank(unit());
    expect(state()).toBe(true);
    await activity.removeRank(unit());
    await activity.removeRank(unit());
    expect(state()).toBeUndefined();
  });

  it('tolerates that it was never started', async () => {
    await activities().stopRank({ ...unit(), timeoutSeconds: 1 });
    await activities().removeRank(unit());
    expect(await failure(activities().restartRank(unit()))).toMatchObject({ code: 'ENGINE_EXITED' });
  });

  it('never touches a unit of this name that another installation made', async () => {
    program = answering();
    await start();
    const strange = { ...unit(), installation: 'other' };
    await activities().stopRank({ ...strange, timeoutSeconds: 1 });
    await activities().removeRank(strange);
    expect(hosts[0]!.units.get(prefill().name)!.state.running).toBe(true);
  });
});
