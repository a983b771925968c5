import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Client, Connection } from '@temporalio/client';
import { dataConverter } from '../../src/connection.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { EVERY_CASE } from '../support/choice.ts';
import { patient } from '../support/patience.ts';
import { until } from '../support/processes.ts';
import { runVerb } from '../support/cli.ts';
import { hostIn, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** What is left to do when more is lost than a process: Temporal's database, a host, a container, the owner of a lease. */
const host = hostIn('127.97.1');
const base = stackSpec(97, {
  name: 'lost',
  hosts: { list: [host('p0', 1, 2), host('d0', 2, 2), host('d1', 3, 2), host('router-0', 4, 0)] },
  decode: { replicas: 1, gpus: { product: 'MI300X', count: 2 }, hosts: ['d0', 'd1'] },
});
const grown: ClusterSpec = { ...base, decode: { ...base.decode, replicas: 2 } };
const HOSTS = ['p0', 'd0', 'd1', 'router-0'];

/** What is shown in memory too (workflows/deploy.test.ts), or of each driver (drivers/docker.test.ts, drivers/jobs.test.ts). */
const whole = EVERY_CASE ? it : it.skip;

let stack: Stack;
let before: Picture;
let folder: string;
let file: string;
let grownFile: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-lost-'));
  [file, grownFile] = [join(folder, 'lost.yaml'), join(folder, 'grown.yaml')];
  await writeFile(file, JSON.stringify(base)); // JSON is YAML.
  await writeFile(grownFile, JSON.stringify(grown));
  stack = await startStack({ spec: base });
  before = await stack.picture();
});
afterAll(async () => {
  await stack?.stop();
  await rm(folder, { recursive: true, force: true });
});

const tandem = (...args: readonly string[]) =>
  runVerb(args, { address: stack.client.settings.origin, timeoutMs: patient(300_000), env: { TANDEM_ACTOR: 'ada' } });

/** Temporal's database is gone: a new server at the same address knows nothing, and the Temporal worker finds it again. */
async function loseDatabase(): Promise<void> {
  await stack.server.kill();
  const database = join(dirname(stack.server.log), 'temporal.db');
  for (const part of ['', '-wal', '-shm', '-journal']) await rm(`${database}${part}`, { force: true });
  await stack.server.start();
  await stack.worker.kill();
  await stack.worker.start();
}

const containersMade = () =>
  Object.fromEntries(HOSTS.map((name) => [name, stack.simulation.counts()[name]!.containersCreated]));

describe('a cluster whose record is lost with Temporal’s database', () => {
  it('is unknown; a deploy of it is refused naming adopt, and harms nothing', async () => {
    expect(await stack.run(base)).toMatchObject({ outcome: 'succeeded', deployment: 1 });
    const serving = await stack.picture();
    await loseDatabase();
    expect(await tandem('status', 'lost')).toMatchObject({ exitCode: 1, json: { error: { code: 'CLUSTER_UNKNOWN' } } });
    const conflict = { code: 'NAME_CONFLICT', remedy: expect.stringContaining('tandem adopt FILE') };
    expect(await tandem('plan', file)).toMatchObject({ exitCode: 1, json: { error: conflict } });
    expect(await tandem('deploy', file)).toMatchObject({
      exitCode: 1,
      json: { outcome: 'refused', leftBehind: [], failed: { step: 'plan', ...conflict } },
    });
    expect(await stack.settledPicture(serving)).toEqual(serving);
  });

  it('is adopted from its hosts, and says whether the file is the spec that runs', async () => {
    const adopted = await tandem('adopt', file, '--reason', 'the disk of the server died');
    expect(adopted).toMatchObject({
      exitCode: 0,
      json: { cluster: 'lost', lastDeployment: 1, differs: [], strangers: [], serving: { engines: { length: 2 } } },
    });
    expect(await stack.client.record('lost')).toMatchObject({
      state: 'serving',
      installation: adopted.json['installation'],
      lastDeployment: 1,
      serving: adopted.json['serving'],
    });
    expect(await tandem('adopt', file)).toMatchObject({ exitCode: 1, json: { error: { code: 'CHANGE_REFUSED' } } });
    expect(await tandem('plan', file, '--exit-code')).toMatchObject({ exitCode: 0 });
  });

  it('grows by one engine beside the others, which are neither stopped nor started anew', async () => {
    const made = containersMade();
    const serving = await stack.picture();
    expect(await tandem('deploy', grownFile)).toMatchObject({
      exitCode: 0,
      json: { outcome: 'succeeded', deployment: 2 },
    });
    expect(containersMade()).toEqual({ ...made, d1: made['d1']! + 1 });
    const { p0, d0, 'router-0': router } = await stack.picture();
    expect([p0!.processes, d0!.processes, router!.processes]).toEqual([
      serving['p0']!.processes,
      serving['d0']!.processes,
      serving['router-0']!.processes,
    ]);
  });
});

describe('what others do behind Tandem’s back', () => {
  whole('a container removed by hand is said to be gone, and started anew beside what serves', async () => {
    await stack.onHost('d1', 'docker rm -f tandem-lost-decode-1-2');
    const gone = 'tandem-lost-decode-1-2 is gone from its hosts, and Tandem did not remove it';
    const { json } = await tandem('plan', grownFile);
    expect(json['changes']).toContainEqual(
      expect.objectContaining({ action: 'create', kind: 'engine', reason: expect.stringContaining(gone) }),
    );
    const made = containersMade();
    const deployed = await tandem('deploy', grownFile);
    expect(deployed).toMatchObject({ exitCode: 0, json: { outcome: 'succeeded', deployment: 3 } });
    expect(deployed.stderr).toContain('tandem-lost-decode-1-2 serves by the record and is on no host any more');
    expect(containersMade()).toEqual({ ...made, d1: made['d1']! + 1 });
  });

  whole('a foreign container that has a planned name is named and stays as it is', async () => {
    await stack.onHost('d1', 'docker rm -f tandem-lost-decode-1-3');
    const id = await stack.onHost('d1', `docker run -d --name tandem-lost-decode-1-4 ${base.engine.image} sleep 600`);
    expect(await tandem('deploy', grownFile)).toMatchObject({
      exitCode: 1,
      json: {
        outcome: 'rolled-back',
        leftBehind: [],
        failed: {
          step: 'start-decode',
          code: 'NAME_CONFLICT',
          host: 'd1',
          message: expect.stringContaining('tandem-lost-decode-1-4'),
        },
      },
    });
    expect(await stack.onHost('d1', 'docker ps -q --no-trunc')).toBe(id);
    await stack.onHost('d1', 'docker rm -f tandem-lost-decode-1-4');
  });

  whole('an engine removed by hand and not wanted any more is taken out of the router’s list', async () => {
    const { router } = (await stack.client.record('lost')).serving!;
    const listed = async () => {
      const { workers } = (await (await fetch(`${router.url}/workers`)).json()) as { workers: { url: string }[] };
      return workers.map(({ url }) => url);
    };
    expect(await listed()).toHaveLength(3);
    expect(await tandem('deploy', file)).toMatchObject({ exitCode: 0, json: { outcome: 'succeeded' } });
    expect(await listed()).toHaveLength(2);
  });

  it('a unit of another installation, or of a number that was never given, is named by plan, deploy and destroy and never touched', async () => {
    const { installation } = await stack.client.record('lost');
    const labels = (of: string, number: number) =>
      `--label tandem.cluster=lost --label tandem.installation=${of} --label tandem.deployment=${number}`;
    const run = `docker run -d --name`;
    const other = await stack.onHost('d1', `${run} other ${labels('elsewhere', 1)} ${base.engine.image} sleep 600`);
    const late = await stack.onHost('d1', `${run} late ${labels(installation, 99)} ${base.engine.image} sleep 600`);
    const named = ['d1: late, of deployment 99, which is not known here', 'd1: other, of installation elsewhere'];
    const conflict = { code: 'NAME_CONFLICT', host: 'd1', evidence: named.join('\n') };
    expect(await tandem('plan', grownFile)).toMatchObject({ exitCode: 1, json: { error: conflict } });
    expect(await tandem('deploy', grownFile)).toMatchObject({ exitCode: 1, json: { failed: conflict } });
    const destroyed = await tandem('destroy', 'lost', '--yes');
    // What carries our own installation's label is left behind, and said to be; a stranger is only named.
    expect(destroyed).toMatchObject({
      exitCode: 3,
      json: { outcome: 'stuck', leftBehind: [expect.stringMatching(/^d1: .*late/)] },
    });
    for (const one of named) expect(destroyed.stderr).toContain(one);
    expect((await stack.onHost('d1', 'docker ps -q --no-trunc')).split('\n').toSorted()).toEqual(
      [late, other].toSorted(),
    );
    await stack.onHost('d1', 'docker rm -f late other');
    expect(await tandem('destroy', 'lost', '--yes')).toMatchObject({
      exitCode: 0,
      json: { outcome: 'succeeded', leftBehind: [] },
    });
    expect(await stack.settledPicture(before)).toEqual(before);
  });

  it('a destroyed cluster is forgotten when asked, and not before', async () => {
    expect(await tandem('forget', 'lost', '--yes')).toMatchObject({
      exitCode: 0,
      json: { cluster: 'lost', forgotten: true },
    });
    expect(await tandem('status', 'lost')).toMatchObject({ exitCode: 1, json: { error: { code: 'CLUSTER_UNKNOWN' } } });
    expect(await tandem('forget', 'lost', '--yes')).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'CLUSTER_UNKNOWN' } },
    });
  });
});

describe('leases', () => {
  const LOST = { cluster: 'gone', installation: 'run-0', deployment: 4, time: '2026-01-01T00:00:00.000Z' };
  const leaseFile = (name: string, pci: string) => join(stack.simulation.host(name).home, 'leases', pci);

  it('of a serving cluster are shown as known here, and are not broken: it is to be destroyed', async () => {
    const { deployment, outcome } = await stack.run(base);
    expect(outcome).toBe('succeeded');
    expect(deployment).toBeGreaterThan(1); // A forgotten cluster's numbers are not given again.
    expect(await tandem('forget', 'lost', '--yes')).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'CHANGE_REFUSED' } },
    });
    const { exitCode, json } = await tandem('lease', 'list', file);
    expect([exitCode, json['unread']]).toEqual([0, []]);
    expect(json['leases']).toEqual(
      ['d0', 'p0']
        .flatMap((name) => [0, 1].map((gpu) => ({ name, gpu })))
        .toSorted((a, b) => HOSTS.indexOf(a.name) - HOSTS.indexOf(b.name))
        .map(({ name, gpu }) =>
          expect.objectContaining({ host: name, gpu, cluster: 'lost', deployment, known: 'serving' }),
        ),
    );
    expect(await tandem('lease', 'break', file, '--host', 'd0', '--reason', 'I want it')).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'CHANGE_REFUSED', remedy: expect.stringContaining('tandem destroy lost') } },
    });
  });

  it('of a lost cluster are broken for a reason, which stays in Temporal’s list and on the host', async () => {
    const pci = '0000:f5:00.0';
    await writeFile(leaseFile('d1', pci), `${JSON.stringify(LOST)}\n`);
    const breaking = ['lease', 'break', file, '--host', 'd1', '--cluster', 'gone'];
    expect(await tandem(...breaking)).toMatchObject({ exitCode: 2 });
    expect(await tandem(...breaking, '--reason', ' ')).toMatchObject({
      exitCode: 2,
      json: { error: { code: 'USAGE' } },
    });

    const unit = await stack.onHost(
      'd1',
      `docker run -d --name stray --label tandem.cluster=gone ${base.engine.image} sleep 600`,
    );
    const reason = 'the team of "gone" has left';
    expect(await tandem(...breaking, '--reason', reason)).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'LEASE_HELD', host: 'd1', evidence: 'stray' } },
    });
    const lease = { pci, cluster: 'gone', installation: 'run-0', deployment: 4, takenAt: LOST.time };
    expect(await tandem(...breaking, '--reason', reason, '--force')).toMatchObject({
      exitCode: 0,
      json: { broken: [{ host: 'd1', ...lease }], changed: [] },
    });
    expect(await stack.onHost('d1', 'docker ps -q --no-trunc')).toBe(unit);
    await stack.onHost('d1', 'docker rm -f stray');
    const book = leaseFile('d1', '.broken');
    expect(JSON.parse(readFileSync(book, 'utf8'))).toMatchObject({ actor: 'ada', reason, lease });
    await rm(book);

    const connection = await Connection.connect({ address: stack.client.settings.origin });
    const { workflow } = new Client({ connection, namespace: 'default', dataConverter });
    const memos: unknown[] = [];
    await until(
      'the list of workflows shows both',
      async () => {
        memos.splice(0);
        const query = `WorkflowType = 'breakLeases' AND TandemActor = 'ada' AND TandemCluster = 'gone'`;
        for await (const { memo } of workflow.list({ query })) memos.push(memo);
        return memos.length === 2;
      },
      { everyMs: 200 },
    ).finally(() => connection.close());
    expect(memos[0]).toEqual({ reason, host: 'd1', leases: pci });
  });
});

describe('a destroy by the spec alone', () => {
  it('is refused where the hosts show two installations, naming both, and touches nothing', async () => {
    await loseDatabase();
    const labels = '--label tandem.cluster=lost --label tandem.installation=elsewhere --label tandem.deployment=1';
    await stack.onHost('d1', `docker run -d --name other ${labels} ${base.engine.image} sleep 600`);
    const serving = await stack.picture();
    expect(await tandem('destroy', 'lost', '--yes')).toMatchObject({
      exitCode: 1,
      json: { error: { code: 'CLUSTER_UNKNOWN' } },
    });
    const { exitCode, json } = await tandem('destroy', 'lost', '--yes', '--spec', file);
    expect(exitCode).not.toBe(0);
    expect(json).toMatchObject({
      failed: { code: 'NAME_CONFLICT', message: expect.stringMatching(/2 installations of cluster lost: .*elsewhere/) },
    });
    expect(await stack.settledPicture(serving)).toEqual(serving);
    await stack.onHost('d1', 'docker rm -f other');
  });

  it('leaves every host as it was', async () => {
    expect(await tandem('destroy', 'lost', '--yes', '--spec', file)).toMatchObject({
      exitCode: 0,
      json: { outcome: 'succeeded', leftBehind: [] },
    });
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});

describe('a destroy with a host that is dead for ever', () => {
  it('ends stuck naming it, and given up by name ends with all the rest gone', async () => {
    expect(await stack.run(grown)).toMatchObject({ outcome: 'succeeded' });
    await stack.simulation.host('d1').stop();
    const stuck = await tandem('destroy', 'lost', '--yes');
    expect(stuck).toMatchObject({ exitCode: 3, json: { outcome: 'stuck', leftBehind: [expect.stringMatching(/d1/)] } });
    expect(await tandem('destroy', 'lost', '--yes', '--abandon-host', 'd11')).toMatchObject({
      exitCode: 2,
      json: { error: { code: 'USAGE', message: expect.stringContaining('d11') } },
    });
    expect(await tandem('destroy', 'lost', '--yes', '--abandon-host', 'd1')).toMatchObject({
      exitCode: 0,
      json: { outcome: 'succeeded', leftBehind: [], abandoned: [expect.stringMatching(/d1.*decode-1/)] },
    });
    expect((await tandem('status', 'lost')).json).toMatchObject({ state: 'stopped', abandoned: { length: 1 } });
    const now = await stack.picture();
    for (const name of ['p0', 'd0', 'router-0']) expect([name, now[name]]).toEqual([name, before[name]]);
  });
});
