import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { FACT_LIMIT_BYTES } from '../../src/facts/fact.ts';
import { specOf } from '../support/memory-scenarios.ts';
import { startOperations, type Operations } from '../support/memory-temporal.ts';

// One Temporal worker for all clusters, as in a small installation. While it is busy with one cluster's text it serves no
// other: what the parsers took for such texts before was more than any limit here.

let operations: Operations;
beforeAll(async () => {
  operations = await startOperations();
}, 60_000);
afterAll(() => operations?.close(), 60_000);

/** As much as is read, and nearly what the tools print: blanks inside of it, one character again and again, half a document. */
const RUBBISH = [' ', '\n', '\t\n', 'GPU[0]  ', 'hca_id: ', '\n  Agent ', '[{"gpu": 0, ', '\r', '1.'].map((unit) =>
  unit.repeat(FACT_LIMIT_BYTES / unit.length).slice(0, FACT_LIMIT_BYTES),
);

it('a host whose every tool prints rubbish fails its own cluster, and the same worker deploys the other meanwhile', async () => {
  const [bad, good] = [
    specOf('rubbish', { prefill: 1, decode: 1 }, { p: 1, d: 1 }),
    specOf('well', { prefill: 1, decode: 2 }, { p: 1, d: 2 }),
  ];
  const [hostile, served] = [operations.open(bad), operations.open(good)];
  /** How far the other cluster was whenever a tool was asked. */
  const seen: number[] = [];
  hostile.hosts.get('p0')!.rubbish = () => RUBBISH[seen.push(served.calls.length) % RUBBISH.length]!;

  let over = false;
  const deployed = operations.run(good).finally(() => (over = true));
  do {
    const failed = await operations.run(bad);
    expect(failed).toMatchObject({ failed: { host: 'p0', code: 'CHECK_FAILED' } });
    expect(failed.failed?.message).toMatch(/^p0: its GPUs could not be read: /);
  } while (!over);

  expect(await deployed).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
  expect(served.serves()).toBe(true);
  expect(Math.max(...seen)).toBeGreaterThan(Math.min(...seen));
}, 300_000);
