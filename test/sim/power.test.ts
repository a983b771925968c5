import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { patient } from '../support/patience.ts';
import { eventually, textOf } from '../support/processes.ts';
import { hosts, simulate, type TestSimulation } from '../support/simulation.ts';

/** What power, network and SSH server of a simulated host do to what runs there and to who is connected. */
const IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
let sim: TestSimulation;
beforeAll(async () => {
  sim = await simulate({ hosts: hosts(60, 2, { images: [IMAGE] }), images: [{ reference: IMAGE }] });
});
afterEach(async () => {
  await sim.setFaults([]);
  sim.host('host-0').mendNetwork();
  sim.host('host-0').setLatency(0);
});
afterAll(() => sim.stop());

const sh = (command: string, args: readonly string[] = [], host = 'host-0') => sim.ssh(host, command, { args });
const engine = (name: string, port: number) =>
  `docker run -d --name ${name} --network host --device /dev/kfd -v "$HOME/share/tiny-chat:/m:ro" ${IMAGE} ` +
  `python3 -m sglang.launch_server --model-path /m --host 127.82.60.1 --port ${port} ` +
  '--disaggregation-mode decode';
const control = (path: string) =>
  fetch(`${sim.state.control.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${sim.state.control.token}` },
  });

describe('a power cut', () => {
  it('gives another boot id, keeps containers as exited and the counts of what was ever made', async () => {
    const bootId = async () => (await sh('cat /proc/sys/kernel/random/boot_id')).stdout;
    await sh(engine('kept', 30000));
    const before = await bootId();
    await sim.host('host-0').stop();
    await sim.host('host-0').start();
    expect(await bootId()).not.toBe(before);
    expect((await sh('docker ps -a --format "{{.Names}} {{.State}}"')).stdout).toBe('kept exited\n');
    expect(sim.counts()['host-0']!.containersByName).toMatchObject({ kept: 1 });
    await sh('docker rm kept');
  });
});

describe('a network cut', () => {
  it('tells neither side: a running command is not heard until it is mended, then all of it', async () => {
    const client = spawn('ssh', [...sim.sshArgs('host-0'), 'read -r go; echo on >seen; echo "got $go"'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    let heard = '';
    client.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    await eventually(async () => (await sim.host('host-0').processes()).length > 0);
    sim.host('host-0').cutNetwork();
    client.stdin.end('word\n');
    expect((await sh('true', ['-o', 'ConnectTimeout=1'])).stderr).toMatch(/timed out/);
    expect([heard, client.exitCode, existsSync(join(sim.host('host-0').home, 'seen'))]).toEqual(['', null, false]);
    sim.host('host-0').mendNetwork();
    await eventually(() => heard === 'got word\n' && client.exitCode === 0);
  });

  it('answers connections that came meanwhile and are still there when it is mended', async () => {
    sim.host('host-0').cutNetwork();
    const waiting = sh('echo there');
    const { address, port } = sim.state.hosts[0]!;
    const probe = connect({ host: address, port });
    await new Promise((resolve) => probe.once('connect', resolve));
    sim.host('host-0').mendNetwork();
    expect((await waiting).stdout).toBe('there\n');
    probe.destroy();
  });

  it('stalls engines for everybody else, those that are started meanwhile too', async () => {
    await sh(engine('first', 30000));
    const ask = (port: number) =>
      fetch(`http://127.82.60.1:${port}/model_info`, { signal: AbortSignal.timeout(500) }).then(
        ({ status }) => status,
        (error: Error) => error.name,
      );
    await eventually(async () => (await ask(30000)) === 200);
    sim.host('host-0').cutNetwork();
    expect(await ask(30000)).toBe('TimeoutError');
    sim.host('host-0').mendNetwork();
    await eventually(async () => (await ask(30000)) === 200);
    await sh('docker rm -f first');
  });

  it('ends with the power: the host answers after its next boot', async () => {
    sim.host('host-0').cutNetwork();
    await sim.host('host-0').reboot();
    expect((await sh('echo up')).stdout).toBe('up\n');
  });
});

describe('a killed SSH server', () => {
  it('resets connections and refuses new ones, while what runs on the host lives on', async () => {
    const client = spawn('ssh', [...sim.sshArgs('host-0'), 'echo on; exec sleep 60'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let errors = '';
    client.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await new Promise((resolve) => client.stdout.once('data', resolve));
    const sleeping = async () =>
      (await sim.host('host-0').processes()).filter((pid) => textOf(`/proc/${pid}/cmdline`) === 'sleep\u000060\0');
    const before = await eventually(async () => ((await sleeping()).length > 0 ? sleeping() : undefined));
    await sim.host('host-0').stopSshd();
    await eventually(() => client.exitCode === 255);
    expect(errors).toMatch(/reset|closed|broken pipe/i);
    expect((await sh('true')).stderr).toContain('Connection refused');
    expect(await sleeping()).toEqual(before);
    await sim.host('host-0').startSshd();
    expect((await sh('echo back')).stdout).toBe('back\n');
    for (const pid of before) process.kill(pid, 'SIGKILL');
  });
});

describe('a host far away', () => {
  it('begins every command so much later', async () => {
    sim.host('host-0').setLatency(400);
    const began = performance.now();
    await sh('true');
    expect(performance.now() - began).toBeGreaterThanOrEqual(400);
  });

  it('begins no command whose client went while it was on its way', async () => {
    sim.host('host-0').setLatency(patient(1_000));
    const client = spawn('ssh', ['-v', ...sim.sshArgs('host-0'), 'touch begun']);
    let said = '';
    client.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await eventually(() => said.includes('Sending command'));
    client.kill('SIGKILL');
    await sh('true'); // Was sent later, so it begins later.
    expect(existsSync(join(sim.host('host-0').home, 'begun'))).toBe(false);
  });
});

describe('the control endpoint', () => {
  it.each(['reboot', 'cut', 'mend', 'sshd-stop', 'sshd-start'])(
    'does %s, and refuses an unknown host',
    async (what) => {
      expect((await control(`/hosts/host-1/${what}`)).status).toBe(200);
      expect((await control(`/hosts/nobody/${what}`)).status).toBe(404);
    },
  );

  it('refuses what it does not know', async () => {
    expect((await control('/hosts/host-1/explode')).status).toBe(404);
    expect((await control('/hosts/host-1/constructor')).status).toBe(404);
  });
});
