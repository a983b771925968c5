import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { engineEnv, startCluster, told, type LabCluster } from './cluster.ts';
import { ENGINE_IMAGE } from './images.ts';
import { whyNoLab } from './lab.ts';
import { labPicture, leftIn, type Pictures } from './picture.ts';

/** What goes wrong on real hosts: whatever it was, every host is then as it was before. */
const why = await whyNoLab();
const suite = why === undefined ? describe : describe.skip;
/** One engine of each role: what fails does so sooner. */
const SMALL = { prefill: { replicas: 1, hosts: ['p0'] }, decode: { hosts: ['d0'] } };

let cluster: LabCluster;
beforeAll(async () => {
  if (why !== undefined) return;
  cluster = await startCluster('failures', [
    { name: 'busy', machine: { gpus: { count: 8, usedMiB: [90_000] } } },
    { name: 'gate', images: [], machine: { gpus: { count: 0 } } },
  ]);
});
afterAll(() => cluster?.stop());

suite(`a deploy to real hosts${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  let before: Pictures;
  beforeEach(async () => {
    before = await labPicture(cluster.lab);
  });
  afterEach(async () => {
    expect(leftIn(before, await labPicture(cluster.lab))).toEqual([]);
  });

  const stateOf = (name: string) => cluster.stack.client.record(name).then(({ state }) => state);
  const destroyed = (spec: ClusterSpec) => told(cluster.stack.run(spec, 'destroy'));

  it('that is cancelled while engines start is rolled back', async () => {
    const { stack, specOf } = cluster;
    const admitted = await stack.begin(specOf('cancelled', SMALL));
    await stack.reaches(admitted, 'start-decode');
    await stack.client.cancel('cancelled', { actor: 'tester' });
    expect(await told(stack.ended('cancelled', admitted))).toMatch(/^cancelled/);
  });

  it('without the image on one host is rolled back, naming host and image', async () => {
    const { lab, stack, specOf } = cluster;
    const docker = async (...argv: readonly string[]) =>
      expect(await lab.host('d0').run(['docker', ...argv])).toMatchObject({ exitCode: 0 });
    await docker('tag', ENGINE_IMAGE, 'kept:1');
    await docker('rmi', ENGINE_IMAGE);
    const { outcome, failed } = await stack.run(specOf('bare', SMALL));
    await docker('tag', 'kept:1', ENGINE_IMAGE);
    await docker('rmi', 'kept:1');
    expect({ outcome, failed }).toMatchObject({
      outcome: 'rolled-back',
      failed: { step: 'fetch-image', code: 'IMAGE_UNAVAILABLE', host: 'd0' },
    });
  });

  it('on a GPU that somebody uses is rolled back, naming it', async () => {
    const { stack, specOf } = cluster;
    const { outcome, failed } = await stack.run(specOf('busy', { ...SMALL, decode: { hosts: ['busy'] } }));
    expect({ outcome, failed }).toMatchObject({
      outcome: 'rolled-back',
      failed: { step: 'check-rocm', host: 'busy', evidence: expect.stringContaining('GPU') as unknown },
    });
  });

  it('whose engine dies at start is rolled back with the last lines of its log', async () => {
    const { stack, specOf } = cluster;
    const env = engineEnv({ outOfMemory: true });
    const { outcome, failed } = await stack.run(specOf('dying', { ...SMALL, decode: { hosts: ['d0'], env } }));
    expect({ outcome, failed }).toMatchObject({
      outcome: 'rolled-back',
      failed: { step: 'start-decode', code: 'ENGINE_EXITED', evidence: expect.stringMatching(/memory/i) as unknown },
    });
  });

  it('whose Temporal worker is killed goes on with another one, and starts nothing twice', async () => {
    const { lab, stack, specOf } = cluster;
    const spec = specOf('killed', SMALL);
    const since = String(Math.floor(Date.now() / 1_000));
    const admitted = await stack.begin(spec);
    await stack.reaches(admitted, 'start-decode');
    await stack.worker.kill();
    await stack.worker.start();
    expect(await told(stack.ended('killed', admitted))).toBe('succeeded');
    for (const host of ['p0', 'd0', 'r0']) {
      const until = String(Math.floor(Date.now() / 1_000) + 1);
      const events = ['--since', since, '--until', until, '--filter', 'type=container', '--format', '{{.Action}}'];
      const { stdout } = await lab.host(host).run(['docker', 'events', ...events]);
      expect([host, ...stdout.trim().split('\n')]).toEqual([host, 'create', 'start']);
    }
    expect(await destroyed(spec)).toBe('succeeded');
  });

  it('on a host that loses power says what it may hold; with power back, destroy clears it', async () => {
    const { lab, stack, specOf } = cluster;
    // Its start goes on until the power is gone.
    const spec = specOf('dark', { ...SMALL, decode: { hosts: ['d1'], env: engineEnv({ neverReady: true }) } });
    const admitted = await stack.begin(spec);
    await stack.reaches(admitted, 'start-decode');
    await lab.host('d1').powerOff();
    const { outcome, failed, leftBehind } = await stack.ended('dark', admitted);
    expect({ outcome, failed }).toMatchObject({
      outcome: 'stuck',
      failed: { step: 'start-decode', code: 'HOST_UNREACHABLE', host: 'd1' },
    });
    expect(leftBehind.join('\n')).toMatch(/^d1: /m);
    await lab.host('d1').powerOn();
    expect(await destroyed(spec)).toBe('succeeded');
    expect(await stateOf('dark')).toBe('stopped');
  });

  it('by a user who may only become root, through a bastion, serves and is destroyed', async () => {
    const { lab, stack, specOf } = cluster;
    const gate = lab.host('gate');
    const inner = ['p0', 'd0', 'r0'].map((name) => lab.host(name));
    const firewall = (verb: string) =>
      Promise.all(
        inner.map((host) =>
          host.run(['iptables', verb, 'INPUT', '-p', 'tcp', '--dport', '22', '!', '-s', gate.address, '-j', 'REJECT']),
        ),
      );
    const jump = [{ address: gate.address, user: lab.user }];
    const spec = specOf('inner', { ...SMALL, hosts: { ssh: { user: lab.sudoer, become: 'sudo', jump } } });
    try {
      for (const { exitCode, stderr } of await firewall('-A'))
        expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
      expect(await told(stack.run(spec))).toBe('succeeded');
      expect(await destroyed(spec)).toBe('succeeded');
    } finally {
      await firewall('-D');
    }
  });
});
