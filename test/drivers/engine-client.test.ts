import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { NoAnswer } from '../../src/drivers/ask.ts';
import { engineClient, requestCountOf } from '../../src/drivers/engine-client.ts';
import type { Fetch } from '../../src/drivers/types.ts';
import { localDrivers } from '../support/local-host.ts';
import { standIn, type StandIn } from '../support/stand-in-engine.ts';

const answering =
  (pages: Readonly<Record<string, unknown>>): Fetch =>
  async (url) => {
    const page = pages[new URL(url).pathname];
    return page === undefined ? new Response('{"detail":"Not Found"}', { status: 404 }) : Response.json(page);
  };
const client = (pages: Readonly<Record<string, unknown>>) =>
  engineClient({ fetch: answering(pages), url: 'http://e:1' });
const load = (rest: object) => ({ loads: [{ num_running_reqs: 0, num_waiting_reqs: 0, ...rest }] });

describe('an engine asked over HTTP', () => {
  let engine: StandIn;
  beforeEach(async () => {
    engine = standIn('127.84.3.1', 30000, 'decode', { running: 2 });
    await engine.listening;
  });
  afterEach(async () => {
    engine.exit(0);
    await engine.exited;
  });

  it('gives role, name, version and open requests, and gets its key', async () => {
    const asked = engineClient({ fetch: localDrivers([]).fetch, url: engine.url, key: 'k' });
    expect(await asked.readiness()).toEqual({ ready: true });
    expect(await asked.identity()).toEqual({ role: 'decode', servedModelName: 'm', version: '0.5.23' });
    expect(await asked.openRequests()).toBe(2);
    expect(new Set(engine.keys)).toEqual(new Set(['Bearer k']));
  });
});

describe('what an engine says', () => {
  const statuses = (pages: Readonly<Record<string, number>>) =>
    engineClient({
      fetch: async (url) => new Response('', { status: pages[new URL(url).pathname] ?? 404 }),
      url: 'http://e:1',
    }).readiness();

  it('is ready once it generates, with /ready (0.5.20) and without (0.5.10.post1), whatever /ping says', async () => {
    const ready = { ready: true };
    expect(await statuses({ '/ready': 200, '/health_generate': 200 })).toEqual(ready);
    expect(await statuses({ '/health_generate': 200 })).toEqual(ready);
    expect(await statuses({ '/ping': 200, '/health_generate': 503 })).toEqual({
      ready: false,
      seen: '/health_generate answered 503',
    });
    expect(await statuses({ '/ping': 200 })).toMatchObject({ seen: '/health_generate answered 404' });
    expect(await statuses({ '/ready': 503, '/health_generate': 200 })).toMatchObject({ seen: '/ready answered 503' });
  });

  it('is what the pages tell that every version has, and its page with keys is never asked', async () => {
    const asked: string[] = [];
    const pages = answering({
      '/v1/models': { data: [{ id: 'm' }, { id: 'an adapter' }] },
      '/v1/loads': { version: '0.5.10.post1', dp_rank_count: 1, ...load({ disaggregation: { mode: 'prefill' } }) },
    });
    const fetch: Fetch = (url, init) => {
      asked.push(new URL(url).pathname);
      return pages(url, init);
    };
    const identity = await engineClient({ fetch, url: 'http://e:1' }).identity();
    expect(identity).toEqual({ role: 'prefill', servedModelName: 'm', version: '0.5.10.post1' });
    expect(asked).toEqual(['/v1/models', '/v1/loads']);
  });

  it('counts requests that only a PD queue holds, and no request twice', async () => {
    const queued = load({
      disaggregation: { mode: 'prefill', prefill_bootstrap_queue_reqs: 2, prefill_inflight_queue_reqs: 1 },
    });
    expect(await client({ '/v1/loads': queued }).openRequests()).toBe(3);
    // 0.5.10.post1: another name, and the inflight queue is not in num_waiting_reqs.
    const older = load({
      num_waiting_reqs: 3,
      queues: { waiting: 1 },
      disaggregation: { mode: 'prefill', prefill_prealloc_queue_reqs: 2, prefill_inflight_queue_reqs: 4 },
    });
    expect(await client({ '/v1/loads': older }).openRequests()).toBe(7);
    const both = load({ num_running_reqs: 1, num_waiting_reqs: 3, disaggregation: { decode_transfer_queue_reqs: 2 } });
    expect(await client({ '/v1/loads': both }).openRequests()).toBe(4);
    expect(
      await client({ '/v1/loads': { loads: [...load({ num_running_reqs: 1 }).loads, ...both.loads] } }).openRequests(),
    ).toBe(5);
  });

  it.each([
    ['no such page', {}],
    ['a page of another shape', { '/v1/models': { data: [] }, '/v1/loads': { requests: 0 } }],
  ])('is no answer when there is %s, never a healthy default', async (_, pages) => {
    await expect(client(pages).identity()).rejects.toBeInstanceOf(NoAnswer);
    await expect(client(pages).openRequests()).rejects.toBeInstanceOf(NoAnswer);
    await expect(client(pages).requestCount()).rejects.toBeInstanceOf(NoAnswer);
  });
});

/** A shape as test/golden/engine has it, with values: what is named has its own, another number is 0. */
function filled(shape: unknown, values: Readonly<Record<string, unknown>>, key = ''): unknown {
  if (typeof shape === 'string') return values[key] ?? { number: 0, boolean: false, string: 'text' }[shape] ?? null;
  if (Array.isArray(shape)) return shape.map((each) => filled(each, values, key));
  return Object.fromEntries(
    Object.entries(shape as object).map(([name, its]) => [name, filled(its, values, name)] as const),
  );
}

describe.each([
  ['0.5.10.post1', 'engine/0.5.10.post1'],
  ['0.5.23', 'engine'],
])('what engines of %s answered when they were recorded', (version, folder) => {
  const recorded = async <T>(name: string): Promise<T> =>
    JSON.parse(await readFile(new URL(`../golden/${folder}/${name}.json`, import.meta.url), 'utf8')) as T;
  const ROLES = ['prefill', 'decode'] as const;
  type Of<T> = Readonly<Record<(typeof ROLES)[number], T>>;
  type Loads = { readonly loads: readonly [{ readonly disaggregation: object }] };

  it.each(ROLES)('tells that an engine is %s, under which name, and of which version', async (role) => {
    const [models, loads] = [await recorded<Of<object>>('models'), await recorded<Of<Loads>>('loads')];
    const pages = {
      '/v1/models': filled(models[role], { id: 'tiny' }),
      '/v1/loads': filled(loads[role], { mode: role, version }),
    };
    expect(await client(pages).identity()).toEqual({ role, servedModelName: 'tiny', version });
  });

  it.each(ROLES)('tells of each request that a %s engine has, in whichever queue it is', async (role) => {
    const loads = (await recorded<Of<Loads>>('loads'))[role];
    const asked = (values: object) => client({ '/v1/loads': filled(loads, { ...values }) }).openRequests();
    expect(await asked({})).toBe(0);
    const queues = Object.keys(loads.loads[0].disaggregation).filter((key) => key.endsWith('_queue_reqs'));
    expect(queues).toContain(`prefill_${version === '0.5.10.post1' ? 'prealloc' : 'bootstrap'}_queue_reqs`);
    for (const queue of ['num_running_reqs', 'waiting', ...queues]) {
      expect([queue, await asked({ [queue]: 1 })]).toEqual([queue, 1]);
    }
    // The engine's own count of who waits holds the PD queues too.
    expect(await asked({ num_running_reqs: 1, num_waiting_reqs: 1, decode_transfer_queue_reqs: 1 })).toBe(2);
  });

  it.each(ROLES)('tells how many requests a %s engine had, whatever labels count them apart', async (role) => {
    const rows = (await recorded<Of<readonly string[]>>('metrics'))[role].map((row) => {
      const [name, type, labels = ''] = row.split(' ');
      const pairs = labels.split(',').map((label) => label.replace('=', '="') + '"');
      return { name: name!, text: `# TYPE ${name} ${type}\n${name}{${labels === '' ? '' : pairs.join(',')}} 3.0` };
    });
    const counters = rows.filter(({ name }) => name === 'sglang:num_requests_total').length;
    expect(counters).toBe(version === '0.5.10.post1' ? 1 : 2);
    expect(requestCountOf(rows.map(({ text }) => text).join('\n'))).toBe(3 * counters);
  });

  it.each(ROLES)(
    'tells when a %s engine is ready: once /health_generate stops saying 503, not before',
    async (role) => {
      type Round = Readonly<Record<string, number | string>>;
      const { rounds } = await recorded<{ rounds: Of<readonly Round[]> }>('starting');
      const answers = rounds[role].filter((round) => Object.values(round).every((status) => status !== 'refused'));
      const seen = await Promise.all(
        answers.map(async (round) => {
          // What had not answered within 0.9 s is on its way to 200.
          const statuses = Object.entries(round).map(([path, status]) => [path, status === 'slow' ? 200 : status]);
          const client = engineClient({
            fetch: async (url) => {
              return new Response('', { status: Number(Object.fromEntries(statuses)[new URL(url).pathname]) });
            },
            url: 'http://e:1',
          });
          return (await client.readiness()).ready;
        }),
      );
      expect(seen).toEqual([false, true, true]);
    },
  );
});

describe('the request counter', () => {
  it('sums streams and others', () => {
    expect(
      requestCountOf(
        'sglang:num_requests_total{is_streaming="false"} 14.0\nsglang:num_requests_total{is_streaming="true"} 4.0\n',
      ),
    ).toBe(18);
  });

  it('falls back to answered generation requests, and does not count health checks', () => {
    const metrics = [
      'sglang:http_responses_total{endpoint="/health",method="GET",status_code="200"} 11.0',
      'sglang:http_responses_total{endpoint="/v1/chat/completions",method="POST",status_code="200"} 11.0',
      'sglang:http_responses_total{endpoint="/v1/completions",method="POST",status_code="200"} 2.0',
      'sglang:http_responses_total{endpoint="/v1/models",method="GET",status_code="200"} 14.0',
    ].join('\n');
    expect(requestCountOf(metrics)).toBe(13);
  });

  it('is 0 before the first request, when the counter does not exist', () => {
    expect(requestCountOf('# TYPE sglang:num_requests_total counter\n')).toBe(0);
  });
});
