import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startCluster, told, type LabCluster } from './cluster.ts';
import { whyNoLab } from './lab.ts';
import { labPicture, leftIn } from './picture.ts';

/** The product on real OpenSSH, Docker Engine and smg; only GPUs, RDMA and SGLang itself are not there. */
const why = await whyNoLab();
const suite = why === undefined ? describe : describe.skip;

let cluster: LabCluster;
beforeAll(async () => {
  if (why === undefined) cluster = await startCluster('deploy');
});
afterAll(() => cluster?.stop());

suite(`a cluster on real hosts${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('is deployed, answers, gains and loses an engine, and leaves every host as it was when it is destroyed', async () => {
    const { lab, stack, specOf } = cluster;
    const before = await labPicture(lab);
    const [small, large] = [specOf('lab'), specOf('lab', { decode: { replicas: 2 } })];
    const leftOn = async (host?: string) => {
      const rows = leftIn(before, await labPicture(lab));
      return host === undefined ? rows : rows.filter((row) => row.startsWith(`${host} `));
    };
    expect(await told(stack.run(small))).toBe('succeeded');
    expect(await told(stack.run(large))).toBe('succeeded');
    // What serves is seen in every kind, as anything that stayed would be.
    expect(new Set((await leftOn('d1')).map((row) => row.split(' ', 3).slice(1).join(' ')))).toEqual(
      new Set(['containers +', 'files +', 'processes +', 'ports +', 'groups +']),
    );
    const { serving } = await stack.client.record('lab');
    expect(serving!.engines.flatMap(({ hosts }) => hosts).toSorted()).toEqual(['d0', 'd1', 'p0', 'p1']);
    expect(await told(stack.run(large))).toBe('unchanged');
    expect(await told(stack.run(small))).toBe('succeeded');
    expect(await leftOn('d1')).toEqual([]);
    expect(await told(stack.run(small, 'destroy'))).toBe('succeeded');
    expect(await leftOn()).toEqual([]);
    const kept = Object.entries(await labPicture(lab)).filter(([, picture]) => picture.kept.length > 0);
    expect(kept.map(([host]) => host)).toEqual(['p0', 'p1', 'd0', 'd1']);
  });
});
