import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { QUESTIONS, STARTS, startPair, type Pair, type World } from '../../sim/engine-questions.ts';
import { clientOf, flagsOf, placed, type AskedEngine, type Given } from '../../sim/engine-support.ts';
import { expectGolden } from '../../support/golden.ts';
import { environmentOf, pythonOf, VERSIONS, type Environment } from './environments.ts';

/**
 * SGLang's own engines on CPU are asked what the simulated ones are. What they answer is in test/golden/engine, that of
 * another version than the newest in a folder of its own, and `UPDATE_GOLDEN=1 npm run test:sglang -- test/sglang/real/engine`
 * writes it there.
 */
const LIMIT_MS = 600_000;

const running = new Set<AskedEngine>();
async function begin(environment: Environment, given: Given): Promise<AskedEngine> {
  const place = placed(given);
  const { log, ...client } = clientOf(place);
  const child = spawn(pythonOf(environment), ['-m', 'sglang.launch_server', ...flagsOf(place)], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      PYTHONPATH: join(import.meta.dirname, '../../..', environment.without),
      ...environment.env,
      PYTHONDONTWRITEBYTECODE: '1',
      OMP_NUM_THREADS: '1',
      MOONCAKE_PROTOCOL: 'tcp',
      MC_FORCE_TCP: '1',
      SGLANG_HOST_IP: place.host,
      ...place.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // A process group, for it starts some more.
  });
  const both = new PassThrough();
  child.stdout.pipe(both, { end: false });
  child.stderr.pipe(both, { end: false });
  createInterface(both).on('line', log);
  const engine: AskedEngine = {
    ...client,
    ready: client.logged('The server is fired up').then(() => undefined),
    exited: once(child, 'close').then(([code, signal]) => (signal === null ? (code as number) : 137)),
    signal: (name) => process.kill(name === 'SIGKILL' ? -child.pid! : child.pid!, name),
  };
  running.add(engine);
  void engine.exited.then(() => running.delete(engine));
  return engine;
}

describe.each(VERSIONS)('SGLang’s own engines of %s answer as recorded', (version) => {
  const environment = environmentOf(version);
  const each = environment === undefined ? it.skip : it;
  const golden = version === VERSIONS.at(-1) ? 'engine' : `engine/${version}`;
  let world: World;
  let pair: Pair;
  beforeAll(async () => {
    if (environment === undefined) return;
    const model = join(environment.folder, 'model');
    await execa(pythonOf(environment), [join(import.meta.dirname, 'model.py'), model]);
    world = { model, version, begin: (given) => begin(environment, given) };
    pair = await startPair(world);
  }, LIMIT_MS);
  afterAll(async () => {
    const left = [...running];
    for (const engine of left) engine.signal('SIGKILL');
    await Promise.all(left.map(({ exited }) => exited));
  });

  each.each(Object.entries(QUESTIONS))(
    '%s',
    async (name, ask) => {
      expectGolden(`${golden}/${name}.json`, `${JSON.stringify(await ask(pair, world), null, 1)}\n`);
    },
    LIMIT_MS,
  );

  each(
    'starts that go wrong',
    async () => {
      const ends: Record<string, unknown> = {};
      for (const [name, start] of Object.entries(STARTS)) ends[name] = await start(world);
      expectGolden(`${golden}/starts.json`, `${JSON.stringify(ends, null, 1)}\n`);
    },
    3 * LIMIT_MS,
  );
});
