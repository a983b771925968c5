import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { patient } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import { hosts, simulate, type TestSimulation } from '../support/simulation.ts';

const IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
let sim: TestSimulation;
beforeAll(async () => {
  sim = await simulate({ hosts: hosts(30, 2, { images: [IMAGE] }), images: [{ reference: IMAGE }] });
});
afterEach(() => sim.setFaults([]));
afterAll(() => sim.stop());

const sh = (command: string, host = 'host-0') => sim.ssh(host, command);

describe('a fault at a command', () => {
  it('meets the command on its host only, as often as it says', async () => {
    await sim.setFaults([
      { host: 'host-0', match: '^amd-smi static', does: 'fails', exitCode: 3, stderr: 'broken\n', nth: 2, times: 1 },
    ]);
    const codes = [];
    for (let run = 0; run < 3; run += 1) codes.push((await sh('amd-smi static >/dev/null')).exitCode);
    expect(codes).toEqual([0, 3, 0]);
    expect((await sh('amd-smi static >/dev/null', 'host-1')).exitCode).toBe(0);
  });

  it('meets real programs too, and they are themselves again afterwards', async () => {
    await sim.setFaults([{ match: '^ln .*lease', does: 'fails', stderr: 'ln: disk full\n' }]);
    const broken = await sh(
      'echo a >a; ln a lease; ln a other && cat other; printf "x y\\n\\n" | tr x z; sleep 0; cat /etc/hostname',
    );
    expect(broken).toEqual({ stdout: 'a\nz y\n\nhost-0\n', stderr: 'ln: disk full\n', exitCode: 0 });
    await sim.setFaults([]);
    expect((await sh('ln a lease && cat lease')).stdout).toBe('a\n');
  });

  it('hangs until the caller ends it, and the simulator lets go', async () => {
    await sim.setFaults([{ match: '^rocminfo', does: 'hangs' }]);
    expect((await sh('timeout 0.3 rocminfo; echo $?')).stdout).toBe('124\n');
  });

  it('kills the command before or after it did its work', async () => {
    await sim.setFaults([
      { match: 'run .*--name before', does: 'dies' },
      { match: 'run .*--name after', does: 'diesAfter' },
    ]);
    const run = async (name: string) =>
      (await sh(`docker run -d --name ${name} ${IMAGE} sleep 60; echo "exit $?"`)).stdout;
    expect(await run('before')).toBe('exit 137\n');
    expect(await run('after')).toBe('exit 137\n');
    expect((await sh('docker ps --format "{{.Names}}"; docker rm -f after')).stdout).toBe('after\nafter\n');
  });

  it('answers late, or rubbish', async () => {
    await sim.setFaults([
      { match: '^hostname', does: 'answersLate', afterMs: 200 },
      { match: '^uname', does: 'printsRubbish', stdout: '<html>' },
    ]);
    const before = performance.now();
    expect((await sh('hostname; uname -r')).stdout).toBe('host-0\n<html>');
    expect(performance.now() - before).toBeGreaterThan(200);
  });

  it('that is no fault is refused, and the others stay', async () => {
    await sim.setFaults([{ match: '^nproc', does: 'fails' }]);
    await expect(sim.setFaults([{ match: '(', does: 'fails' }])).rejects.toThrow('match');
    await expect(sim.setFaults([{ match: 'x', does: 'explodes' } as never])).rejects.toThrow();
    expect((await sh('nproc')).exitCode).toBe(1);
  });
});

describe('a fault of the SSH server', () => {
  it('resets as many connections as it says', async () => {
    await sim.setFaults([{ host: 'host-0', ssh: 'refuses', times: 2 }]);
    const tries = [];
    for (let at = 0; at < 3; at += 1) tries.push((await sh('echo in')).exitCode);
    expect(tries).toEqual([255, 255, 0]);
  });

  it('accepts and says nothing: the client runs into its own limit', async () => {
    await sim.setFaults([{ host: 'host-0', ssh: 'silent' }]);
    const answer = await sim.ssh('host-0', 'true', { args: ['-o', 'ConnectTimeout=1'] });
    expect(answer.stderr).toMatch(/banner exchange|timed out/);
  });

  it('cuts the connection, and the command lives on', async () => {
    await sim.setFaults([{ host: 'host-0', ssh: 'drops', afterMs: patient(1_000), times: 1 }]);
    expect((await sh('exec sleep 60 </dev/null >/dev/null 2>&1')).exitCode).toBe(255);
    const [pid] = await sim.host('host-0').processes();
    expect(pid).toBeGreaterThan(1);
    process.kill(pid!, 'SIGKILL');
  });
});

describe('a fault of an engine', () => {
  const start = (name: string) =>
    `docker run -d --name ${name} --network host --device /dev/kfd -v $HOME/share/tiny-chat:/m ${IMAGE} python3 -m sglang.launch_server --model-path /m --host 127.82.30.1 --port 30000 --disaggregation-mode prefill`;

  const oomKilled = async (name: string) => (await sh(`docker inspect --format '{{.State.OOMKilled}}' ${name}`)).stdout;

  it('ends it before it is ready, once', async () => {
    await sim.setFaults([{ engine: { killedWhileLoading: true }, match: '^prefill-0', times: 1 }]);
    await sh(start('prefill-0'));
    expect((await sh('docker wait prefill-0')).stdout).toBe('137\n');
    expect(await oomKilled('prefill-0')).toBe('true\n');
    await sh('docker start prefill-0');
    await eventually(async () => (await sh('docker logs --tail 1 prefill-0')).stdout.includes('ready to roll'));
    expect(await oomKilled('prefill-0')).toBe('false\n');
    await sh('docker rm -f prefill-0');
  });

  it.each([
    ['by docker kill before it is killed for memory', { killedWhileLoading: true }, 'docker kill prefill-0'],
    ['for lack of GPU memory', { outOfMemory: true }, 'true'],
  ])('ends it %s, which is no lack of host memory', async (_, engine, end) => {
    await sim.setFaults([{ engine, match: '^prefill-0' }]);
    await sh(`${start('prefill-0')}; ${end}`);
    expect((await sh('docker wait prefill-0')).stdout).toBe('137\n');
    expect(await oomKilled('prefill-0')).toBe('false\n');
    await sh('docker rm -f prefill-0');
  });

  it('lets it say another role than its flags', async () => {
    await sim.setFaults([{ engine: { saysRole: 'decode' } }]);
    await sh(start('prefill-0'));
    await eventually(async () =>
      (await sh('curl -s http://127.82.30.1:30000/model_info')).stdout.includes('"disaggregation_mode":"decode"'),
    );
    await sh('docker rm -f prefill-0');
  });
});

describe('the control endpoint', () => {
  const call = (path: string, init: RequestInit = {}, token = sim.state.control.token) =>
    fetch(`${sim.state.control.url}${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });

  it('wants its token', async () => {
    expect((await call('/counts', {}, 'wrong')).status).toBe(401);
  });

  it('sets faults, counts commands, and lists files, calls and processes', async () => {
    expect(
      (
        await call('/faults', {
          method: 'PUT',
          body: JSON.stringify([{ match: '^nproc', does: 'fails', exitCode: 9 }]),
        })
      ).status,
    ).toBe(200);
    expect((await call('/faults', { method: 'POST', body: JSON.stringify([{ nonsense: 1 }]) })).status).toBe(400);
    const count = async () =>
      ((await (await call('/counts')).json()) as ReturnType<typeof sim.counts>)['host-1']!.commands['nproc'] ?? 0;
    const before = await count();
    expect((await sh('nproc; echo $?; echo new >listed', 'host-1')).stdout).toBe('9\n');
    expect((await count()) - before).toBe(1);
    expect(await (await call('/hosts/host-1/files')).json()).toContain('listed 4');
    expect(await (await call('/hosts/host-1/calls')).json()).toContainEqual(['nproc']);
    const processes = async () => (await (await call('/hosts/host-1/processes')).json()) as number[];
    await eventually(async () => (await processes()).length === 0);
    expect((await call('/hosts/host-1/nonsense')).status).toBe(404);
  });

  it('reboots a host', async () => {
    const client = spawn('ssh', [...sim.sshArgs('host-1'), 'echo on; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await new Promise((resolve) => client.stdout.once('data', resolve));
    expect((await call('/hosts/host-1/reboot', { method: 'POST' })).status).toBe(200);
    expect(
      await new Promise((resolve) =>
        client.exitCode === null ? client.once('exit', resolve) : resolve(client.exitCode),
      ),
    ).toBe(255);
    expect((await sh('true', 'host-1')).exitCode).toBe(0);
  });
});
