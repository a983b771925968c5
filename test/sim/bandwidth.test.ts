import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ibWriteBw } from '../../src/facts/ib-write-bw.ts';
import { simulate, type TestSimulation } from '../support/simulation.ts';

let sim: TestSimulation;
beforeAll(async () => {
  sim = await simulate({
    hosts: [
      { name: 'p0', address: '127.82.40.1', fabricAddress: '127.82.40.101' },
      { name: 'p1', address: '127.82.40.2' },
      {
        name: 'd0',
        address: '127.82.40.3',
        nics: [
          { device: 'mlx5_0', driver: 'mlx5', rateGbps: 200 },
          { device: 'mlx5_1', driver: 'mlx5', state: 'DOWN' },
        ],
      },
      { name: 'd1', address: '127.82.40.4', nics: [{ device: 'bnxt_re0', efficiency: 0.5 }] },
    ],
  });
});
afterAll(() => sim.stop());

const command = (options: Parameters<typeof ibWriteBw.command>[0]) => ibWriteBw.command(options).join(' ');
const gbps = (answer: { stdout: string; stderr: string; exitCode: number | undefined }) =>
  ibWriteBw.parse({ stdout: answer.stdout, stderr: answer.stderr, exitCode: answer.exitCode ?? 255, timedOut: false })
    .averageGbps;

/** Server first, client again and again until it listens, as the product does. */
async function measure(
  source: string,
  target: string,
  device: string,
  server: string,
  { port = 18515, seconds = 2, from = 'bnxt_re0' } = {},
) {
  const serving = sim.ssh(target, command({ device, gidIndex: 3, seconds, port }));
  const retry = `until ${command({ device: from, gidIndex: 3, seconds, port, server })} >out 2>err; do grep -q "Couldn't connect" err || exit 1; done; cat out`;
  const client = await sim.ssh(source, `mkdir -p ${port} && cd ${port} && ${retry}`);
  return { client: gbps(client), server: gbps(await serving) };
}

describe('a bandwidth test', () => {
  it('measures the slower end, and both ends agree', async () => {
    const { client, server } = await measure('p0', 'd0', 'mlx5_0', '10.0.0.3');
    expect([client, server]).toEqual([194, 194]);
  });

  it('shows a link that carries less than its rate', async () => {
    expect((await measure('p0', 'd1', 'bnxt_re0', '10.0.0.4')).client).toBe(200);
  });

  it('finds its server by SSH address, fabric address and the address of a NIC', async () => {
    expect((await measure('p1', 'p0', 'bnxt_re0', '127.82.40.1')).client).toBe(388);
    expect((await measure('p1', 'p0', 'bnxt_re0', '127.82.40.101')).client).toBe(388);
  });

  it('gives half to each of two tests that share a NIC, and all to two that do not', async () => {
    const shared = await Promise.all([
      measure('p0', 'd0', 'mlx5_0', '10.0.0.3', { port: 18516, seconds: 60 }),
      measure('p1', 'd0', 'mlx5_0', '10.0.0.3', { port: 18517, seconds: 60 }),
    ]);
    expect(shared.map(({ client }) => client)).toEqual([97, 97]);
    const apart = await Promise.all([
      measure('p0', 'd0', 'mlx5_0', '10.0.0.3', { port: 18518, seconds: 60 }),
      measure('p1', 'd1', 'bnxt_re0', '10.0.0.4', { port: 18519, seconds: 60 }),
    ]);
    expect(apart.map(({ client }) => client)).toEqual([194, 200]);
  });
});

describe('a bandwidth test fails', () => {
  const run = async (line: string, host = 'p0') => {
    const { stdout, stderr, exitCode } = await sim.ssh(host, line);
    expect(exitCode).toBe(1);
    expect(() => ibWriteBw.parse({ stdout, stderr, exitCode: 1, timedOut: false })).toThrow(SyntaxError);
    return stderr;
  };

  it.each([
    ['when nobody serves', 'ib_write_bw -d bnxt_re0 -x 3 -F -D 1 127.82.40.2', "Couldn't connect to 127.82.40.2:18515"],
    ['on a device that is not there', 'ib_write_bw -d nope -F', 'IB device nope not found'],
    ['with a GID that is not there', 'ib_write_bw -d bnxt_re0 -x 9 -F', 'Failed to modify QP to RTR'],
    [
      'for a flag that it does not know',
      'ib_write_bw -d bnxt_re0 --no_such_flag',
      "unrecognized option '--no_such_flag'",
    ],
  ])('%s', async (_, line, why) => {
    expect(await run(line)).toContain(why);
  });

  it('on a port that is down', async () => {
    expect(await run('ib_write_bw -d mlx5_1 -x 3 -F', 'd0')).toContain('Port number 1 state is Down');
  });

  it('on a TCP port that is taken', async () => {
    const { port } = sim.state.hosts[0]!;
    expect(await run(`ib_write_bw -d bnxt_re0 -x 3 -F -p ${port}`)).toContain(`Couldn't bind/listen on port ${port}`);
  });

  it('at its other end too when one end is killed, and frees the port', async () => {
    const serving = sim.ssh('d1', command({ device: 'bnxt_re0', gidIndex: 3, seconds: 3600, port: 18600 }));
    await sim.ssh(
      'p0',
      `until timeout 1 ${command({ device: 'bnxt_re0', gidIndex: 3, seconds: 3600, port: 18600, server: '10.0.0.4' })} >/dev/null 2>e || ! grep -q "Couldn't connect" e; do :; done`,
    );
    expect((await serving).stderr).toContain('Failed status 12');
    expect((await sim.ssh('d1', 'ss -Hltn')).stdout).not.toContain(':18600');
  });
});
