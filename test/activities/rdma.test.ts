import { describe, expect, it } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { type MeasureRound, createRdmaActivities } from '../../activities/rdma.ts';
import { DeployError } from '../../src/errors.ts';
import type { LinkTest } from '../../src/plan/types.ts';
import { type Answer, type Said, fakeDrivers, fakeRef } from '../support/fake-host.ts';

const link = (rail: number, overrides: Partial<LinkTest> = {}): LinkTest => ({
  source: { host: 'p0', device: `bnxt_re${rail}`, gidIndex: 3, address: `127.84.0.${rail}` },
  target: { host: 'd0', device: `bnxt_re${rail}`, gidIndex: 3, address: `127.84.1.${rail}` },
  port: 18515 + rail,
  minGbps: 360,
  ...overrides,
});

const round = (...tests: readonly LinkTest[]): MeasureRound => ({
  round: { tests },
  refs: [fakeRef('p0'), fakeRef('d0')],
  seconds: 2,
  waive: [],
});

const table = (gbps: number): Said => ({
  stdout: ` #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]\n 65536 9 0.00 ${gbps} ${(gbps / 0.524288).toFixed(4)}\n`,
});
const refused: Said = { exitCode: 1, stderr: "Couldn't connect to 127.84.1.0:18515\n" };
const portOf = (argv: readonly string[]) => Number(argv[argv.indexOf('-p') + 1]);

/** A fabric of servers and clients: a server ends when its client is done; a client is refused while none listens. */
function fabric(gbps: (port: number) => number = () => 389) {
  const listening = new Map<number, (output: Said) => void>();
  const asked = { servers: [] as (readonly string[])[], clients: [] as (readonly string[])[] };
  const server: Answer = (argv) => {
    asked.servers.push(argv);
    return new Promise((resolve) => listening.set(portOf(argv), resolve));
  };
  const client: Answer = (argv) => {
    asked.clients.push(argv);
    const end = listening.get(portOf(argv));
    if (!end) return refused;
    listening.delete(portOf(argv));
    const output = table(gbps(portOf(argv)));
    end(output);
    return output;
  };
  return { server, client, asked, listening };
}

const measure = (hosts: Record<string, Answer>, at: MeasureRound) =>
  createRdmaActivities(fakeDrivers(hosts)).measureRound(at);

describe('a round of bandwidth tests', () => {
  it('runs a server on each target and a client on each source, one port a link', async () => {
    const { server, client, asked } = fabric();
    const findings = await measure({ p0: client, d0: server }, round(link(0), link(1)));
    expect(findings.map(({ verdict, host, peer }) => [verdict, host, peer])).toEqual([
      ['pass', 'p0', 'd0'],
      ['pass', 'p0', 'd0'],
    ]);
    const common = ['ib_write_bw', '-d', 'bnxt_re1', '-x', '3', '-F', '--report_gbits', '-D', '2', '-p', '18516'];
    expect(asked.servers).toContainEqual(common);
    expect(asked.clients).toContainEqual([...common, '127.84.1.1']);
  });

  it('names no GID where the link has none', async () => {
    const { server, client, asked } = fabric();
    const bare = { host: 'd0', device: 'mlx5_0', address: '127.84.1.0' };
    await measure({ p0: client, d0: server }, round(link(0, { source: { ...bare, host: 'p0' }, target: bare })));
    expect([...asked.servers, ...asked.clients].flat()).not.toContain('-x');
  });

  it('loads every link at the same time: no client ends before all are through to their servers', async () => {
    const { server, client, listening } = fabric();
    const links = [0, 1, 2, 3].map((rail) => link(rail));
    let begun = 0;
    let open: () => void = () => undefined;
    const all = new Promise<void>((resolve) => (open = resolve));
    const together: Answer = async (argv, stdin) => {
      if (!listening.has(portOf(argv))) return refused;
      begun += 1;
      if (begun === links.length) open();
      await all;
      return client(argv, stdin);
    };
    expect(await measure({ p0: together, d0: server }, round(...links))).toHaveLength(4);
  });

  it('tries a client again while its server does not listen yet', async () => {
    const { server, client, asked } = fabric();
    const late: Answer = async (argv, stdin) => {
      while (asked.clients.length < 2) await new Promise((resolve) => setImmediate(resolve));
      return server(argv, stdin);
    };
    const findings = await measure({ p0: client, d0: late }, round(link(0)));
    expect(findings).toMatchObject([{ verdict: 'pass' }]);
    expect(asked.clients.length).toBeGreaterThan(2);
  });

  it('finds the slow link among the fast ones', async () => {
    const { server, client } = fabric((port) => (port === 18516 ? 92.4 : 389));
    const findings = await measure({ p0: client, d0: server }, round(link(0), link(1)));
    expect(findings.map(({ verdict, evidence }) => [verdict, evidence])).toEqual([
      ['pass', 'p0/bnxt_re0 → d0/bnxt_re0: 389 Gb/s measured, rdma.minGbps asks for 360'],
      ['fail', 'p0/bnxt_re1 → d0/bnxt_re1: 92.4 Gb/s measured, rdma.minGbps asks for 360'],
    ]);
  });

  it('says why the server failed, and stops asking it', async () => {
    const failing: Answer = () => ({ exitCode: 1, stderr: 'ibv_create_qp failed: Cannot allocate memory\n' });
    const findings = await measure({ p0: () => refused, d0: failing }, round(link(0)));
    expect(findings).toMatchObject([
      {
        verdict: 'fail',
        evidence:
          "p0/bnxt_re0 → d0/bnxt_re0: bandwidth could not be measured: ib_write_bw failed: Couldn't connect to 127.84.1.0:18515; on the other end: ib_write_bw failed: ibv_create_qp failed: Cannot allocate memory; rdma.minGbps asks for 360",
      },
    ]);
  });

  it('fails a client that hangs, and does not take its time-out for a result', async () => {
    const { server } = fabric();
    const hosts = { p0: (): Said => ({ ...table(389), timedOut: true, exitCode: 137 }), d0: server };
    const serverEnds: Answer = () => ({ exitCode: 137, timedOut: true });
    const findings = await measure({ ...hosts, d0: serverEnds }, round(link(0)));
    expect(findings).toMatchObject([
      { verdict: 'fail', evidence: expect.stringContaining('ib-write-bw did not answer within its limit') },
    ]);
  });

  it('does not wait for a server whose client failed for good: nobody else comes to it', async () => {
    const failing: Answer = () => ({ exitCode: 1, stderr: 'Unable to init the socket connection\n' });
    const drivers = fakeDrivers({ p0: failing, d0: fabric().server });
    const findings = await createRdmaActivities(drivers).measureRound(round(link(0), link(1)));
    const evidence = expect.stringMatching(/ib_write_bw failed: Unable to init the socket connection; rdma\.minGbps/);
    expect(findings).toMatchObject([
      { verdict: 'fail', evidence },
      { verdict: 'fail', evidence },
    ]);
    expect(drivers.running()).toBe(0);
  });

  it('warns with the reason when the check is waived', async () => {
    const { server, client } = fabric(() => 1);
    const waived = { ...round(link(0)), waive: [{ check: 'rdma-bandwidth', reason: 'lab' }] };
    expect(await measure({ p0: client, d0: server }, waived)).toMatchObject([
      { verdict: 'warn', evidence: expect.stringContaining('(waived: lab)') },
    ]);
  });
});

describe('a round that cannot go on', () => {
  const lost = new DeployError({ code: 'HOST_UNREACHABLE', message: 'p0 is gone', remedy: 'r', retryable: true });

  it('ends every process that it started when a host is lost, and throws that loss', async () => {
    const { server } = fabric(); // Its clients never come, so its servers would wait for ever.
    const drivers = fakeDrivers({ p0: () => Promise.reject(lost), d0: server });
    const ended = createRdmaActivities(drivers).measureRound(round(link(0), link(1)));
    await expect(ended).rejects.toBe(lost);
    expect(drivers.running()).toBe(0);
  });

  it('ends every process that it started when it is cancelled', async () => {
    const environment = new MockActivityEnvironment();
    const { server } = fabric();
    const hanging: Answer = () => {
      environment.cancel();
      return new Promise(() => undefined);
    };
    const drivers = fakeDrivers({ p0: hanging, d0: server });
    const cancelled = environment.run(() => createRdmaActivities(drivers).measureRound(round(link(0))));
    await expect(cancelled).rejects.toThrow('CANCELLED');
    expect(drivers.running()).toBe(0);
  });
});
