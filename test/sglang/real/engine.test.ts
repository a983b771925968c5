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

/**
 * SGLang's own engines on CPU are asked what the simulated ones are. What they answer is in test/golden/engine, and
 * `UPDATE_GOLDEN=1 npm run test:sglang -- test/sglang/real/engine` writes it there.
 */
const environment = process.env['TANDEM_SGLANG_ENV'];
const suite = environment === undefined ? describe.skip : describe;
const LIMIT_MS = 600_000;

const running = new Set<AskedEngine>();
async function begin(given: Given): Promise<AskedEngine> {
  const place = placed(given);
  const { log, ...client } = clientOf(place);
  const child = spawn(join(environment!, 'bin/python'), ['-m', 'sglang.launch_server', ...flagsOf(place)], {
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      PYTHONPATH: import.meta.dirname,
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

suite('SGLang’s own engines answer as recorded', () => {
  let world: World;
  let pair: Pair;
  beforeAll(async () => {
    const model = join(environment!, 'model');
    await execa(join(environment!, 'bin/python'), [join(import.meta.dirname, 'model.py'), model]);
    world = { model, begin };
    pair = await startPair(world);
  }, LIMIT_MS);
  afterAll(async () => {
    const left = [...running];
    for (const engine of left) engine.signal('SIGKILL');
    await Promise.all(left.map(({ exited }) => exited));
  });

  it.each(Object.entries(QUESTIONS))(
    '%s',
    async (name, ask) => {
      expectGolden(`engine/${name}.json`, `${JSON.stringify(await ask(pair, world), null, 1)}\n`);
    },
    LIMIT_MS,
  );

  it(
    'starts that go wrong',
    async () => {
      const ends: Record<string, unknown> = {};
      for (const [name, start] of Object.entries(STARTS)) ends[name] = await start(world);
      expectGolden('engine/starts.json', `${JSON.stringify(ends, null, 1)}\n`);
    },
    3 * LIMIT_MS,
  );
});
