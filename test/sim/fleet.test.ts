import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { processesOf } from '../../src/sim/processes.ts';
import type { SimulationState } from '../../src/sim/simulation.ts';
import { START_MS } from '../support/patience.ts';
import { eventually, processesWith, textOf, until } from '../support/processes.ts';
import { NODE_TS } from '../support/simulation.ts';

const MAIN = fileURLToPath(new URL('../../src/sim/main.ts', import.meta.url));
/** With the compiler of the tests in it; the built simulator needs less. */
const MEMORY_MIB = 500;
/** Seconds of a `sleep` that no other has: it is found by them. */
const WITHOUT_HOME = `300.${process.pid}`;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'tandem-fleet-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Simulators that a failed test left, with what runs on their hosts: told to end, they end that too. */
const started: ReturnType<typeof spawned>[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map(async (child) => child.kill('SIGTERM') && (await child)));
});

const spawned = ([program, ...args]: readonly [string, ...string[]]) =>
  execa(program, args, { reject: false, forceKillAfterDelay: START_MS });

async function start(name: string, scenario: object) {
  const [scenarioFile, file] = [join(dir, `${name}.json`), join(dir, `${name}.state`)];
  await writeFile(scenarioFile, JSON.stringify(scenario));
  const [program, ...args] = NODE_TS;
  const child = spawned([
    program,
    ...args,
    MAIN,
    '--dir',
    relative('.', join(dir, name)),
    '--scenario',
    scenarioFile,
    '--state',
    file,
  ]);
  started.push(child);
  await eventually(
    () => existsSync(file) || (child.exitCode !== null && Promise.reject(new Error('the simulator ended'))),
    { limitMs: START_MS },
  );
  return { child, state: JSON.parse(await readFile(file, 'utf8')) as SimulationState, file };
}

const ssh = ({ identityFile, knownHostsFile, hosts }: SimulationState, index: number, command: string) => {
  const { user, address, port } = hosts[index]!;
  return execa(
    'ssh',
    [
      '-F',
      'none',
      '-o',
      `UserKnownHostsFile=${knownHostsFile}`,
      '-o',
      'StrictHostKeyChecking=yes',
      '-i',
      identityFile,
      '-p',
      String(port),
      `${user}@${address}`,
      command,
    ],
    { reject: false, input: '' },
  );
};

describe('a simulator process', () => {
  it('runs 64 hosts in bounded memory, each with its own key and name', async () => {
    const addresses = Array.from({ length: 64 }, (_, index) => ({
      name: `h${index}`,
      address: `127.82.64.${index + 1}`,
    }));
    const { child, state } = await start('many', { hosts: addresses });
    expect(new Set(state.hosts.map(({ hostKey }) => hostKey)).size).toBe(64);
    const names = await Promise.all([0, 21, 42, 63].map(async (index) => (await ssh(state, index, 'hostname')).stdout));
    expect(names).toEqual(['h0', 'h21', 'h42', 'h63']);
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    expect(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024).toBeLessThan(MEMORY_MIB);
    child.kill('SIGTERM');
    expect((await child).exitCode).toBe(0);
  });

  it('ends on SIGTERM with every process and port of its hosts, detached ones too', async () => {
    const image = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
    const { child, state, file } = await start('one', {
      hosts: [{ name: 'h', address: '127.82.65.1', images: [image] }],
      images: [{ reference: image }],
      timing: { startSeconds: 0.05, warmupSeconds: 0.01 },
    });
    const { home } = state.hosts[0]!;
    await ssh(
      state,
      0,
      // The loop ends by itself: its `sleep` may go before it does.
      `setsid sh -c "trap : TERM HUP; n=300; while [ \\$((n-=1)) -gt 0 ]; do sleep 1; done" >/dev/null 2>&1 </dev/null & cd /tmp; env -u HOME setsid sleep ${WITHOUT_HOME} >/dev/null 2>&1 &`,
    );
    await ssh(
      state,
      0,
      `docker run -d --name one ${image} sleep 300; docker run -d --name two --network host --device /dev/kfd -v $HOME/share/tiny-chat:/m ${image} python3 -m sglang.launch_server --model-path /m --host 127.82.65.1 --port 30000`,
    );
    await eventually(
      async () =>
        (await ssh(state, 0, 'curl -s -o /dev/null -w "%{http_code}" http://127.82.65.1:30000/ready')).stdout === '200',
    );
    const lines = async () => (await processesOf(home)).map((pid) => textOf(`/proc/${pid}/cmdline`)).join('\n');
    await until('the loop runs', async () => (await lines()).includes('trap : TERM HUP'));
    await until('the container runs', async () => (await lines()).includes('sleep\u0000300'));
    await until('what has no HOME runs', () => processesWith(WITHOUT_HOME).length > 0);
    child.kill('SIGTERM');
    expect((await child).exitCode).toBe(0);
    expect(await processesOf(home)).toEqual([]);
    expect(processesWith(WITHOUT_HOME)).toEqual([]);
    expect(existsSync(file)).toBe(false);
    expect(await readFile('/proc/net/tcp', 'utf8')).not.toMatch(/: 0141527F:\w{4} \S+ 0A/);
  });

  it('that was killed leaves disks and containers: the next one on its folder finds them as after a power cut', async () => {
    const image = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
    const scenario = {
      hosts: [{ name: 'h', address: '127.82.66.1', images: [image] }],
      images: [{ reference: image }],
    };
    const first = await start('again', scenario);
    await ssh(
      first.state,
      0,
      `echo kept >file; docker run -d --name one ${image} sleep 300; setsid sleep 300 >/dev/null 2>&1 </dev/null &`,
    );
    first.child.kill('SIGKILL');
    await first.child;
    await rm(first.file);
    const second = await start('again', scenario);
    expect(
      (await ssh(second.state, 0, 'cat file; docker inspect --format "{{.State.Status}} {{.State.ExitCode}}" one'))
        .stdout,
    ).toBe('kept\nexited 137');
    expect(await processesOf(second.state.hosts[0]!.home)).toEqual([]);
    expect(second.state.hosts[0]!.hostKey).toBe(first.state.hosts[0]!.hostKey);
    second.child.kill('SIGTERM');
    await second.child;
  });

  it('refuses a scenario with an unknown key', async () => {
    await writeFile(join(dir, 'bad.json'), JSON.stringify({ hosts: [{ name: 'h', address: '127.82.67.1', gpu: 8 }] }));
    const [program, ...args] = NODE_TS;
    const answer = await execa(
      program,
      [
        ...args,
        MAIN,
        '--dir',
        join(dir, 'bad'),
        '--scenario',
        join(dir, 'bad.json'),
        '--state',
        join(dir, 'bad.state'),
      ],
      { reject: false },
    );
    expect(answer.exitCode).toBe(1);
    expect(answer.stderr).toContain('Unrecognized key');
  });
});
