import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startCluster, told, type LabCluster } from './cluster.ts';
import { whyNoLab } from './lab.ts';
import { keptImages, labPicture, leftIn } from './picture.ts';
import { ENGINE_IMAGE } from './images.ts';

/** The product on real OpenSSH, Docker Engine and smg; only GPUs, RDMA and SGLang itself are not there. */
const why = await whyNoLab();
const suite = why === undefined ? describe : describe.skip;

let cluster: LabCluster;
beforeAll(async () => {
  if (why === undefined) cluster = await startCluster('deploy');
}, 120_000);
afterAll(() => cluster?.stop(), 120_000);

suite(`a cluster on real hosts${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('is deployed, answers, gains and loses an engine, and leaves every host as it was when it is destroyed', async () => {
    const { lab, stack, specOf } = cluster;
    const before = await labPicture(lab);
    const [small, large] = [specOf('lab'), specOf('lab', { decode: { replicas: 2 } })];
    expect(await told(stack.run(small))).toBe('succeeded');
    expect(await told(stack.run(large))).toBe('succeeded');
    const { serving } = await stack.client.record('lab');
    expect(serving!.engines.flatMap(({ hosts }) => hosts).toSorted()).toEqual(['d0', 'd1', 'p0', 'p1']);
    expect(await told(stack.run(large))).toBe('unchanged');
    expect(await told(stack.run(small))).toBe('succeeded');
    expect(await told(stack.run(small, 'destroy'))).toBe('succeeded');
    expect(leftIn(before, await labPicture(lab))).toEqual([]);
    expect(await keptImages(lab.host('p0'))).toContain(ENGINE_IMAGE);
  }, 400_000);
});
