import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { patientSeconds } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import { hosts, simulate, type TestSimulation } from '../support/simulation.ts';

let sim: TestSimulation;
beforeAll(async () => {
  sim = await simulate({ hosts: hosts(1, 2) });
});
afterAll(() => sim.stop());

const home = () => sim.host('host-0').home;

describe('the real OpenSSH client', () => {
  it('logs in and gets stdout, stderr, stdin and exit code through', async () => {
    const answer = await sim.ssh('host-0', 'cat; echo err >&2; exit 7', { input: 'line ü\n\n' });
    expect(answer).toEqual({ stdout: 'line ü\n\n', stderr: 'err\n', exitCode: 7 });
  });

  it('gets all of both streams, also beyond what it takes at once', async () => {
    const answer = await sim.ssh('host-0', 'seq 1 600000 >&2 & seq 1 600000; wait');
    const all = Array.from({ length: 600_000 }, (_, index) => `${index + 1}\n`).join('');
    // Compared as a whole; a failure prints no megabytes.
    expect([answer.stdout === all, answer.stderr === all, answer.exitCode]).toEqual([true, true, 0]);
  });

  it('is refused as another user and with another key', async () => {
    const { port, address } = sim.state.hosts[0]!;
    const stranger = await sim.ssh('host-0', 'true', { args: ['-l', 'root'] });
    expect(stranger.stderr).toContain('Permission denied (publickey)');
    await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(sim.dir, 'other')]);
    const args = sim.sshArgs('host-0').map((arg) => (arg === sim.state.identityFile ? join(sim.dir, 'other') : arg));
    const other = await execa('ssh', [...args, 'true'], { reject: false });
    expect(other.stderr).toBe(`ops@${address}: Permission denied (publickey).`);
    expect(port).toBe(2222);
  });

  it('finds the same host key after a restart on the same folder', async () => {
    const first = await simulate({ hosts: hosts(2, 1) }, join(sim.dir, 'again'));
    await first.stop();
    const second = await simulate({ hosts: hosts(2, 1) }, join(sim.dir, 'again'));
    await second.stop();
    expect(second.state.hosts[0]!.hostKey).toBe(first.state.hosts[0]!.hostKey);
  });

  it('dies of a signal as under a real sshd', async () => {
    expect((await sim.ssh('host-0', 'kill -TERM $$')).exitCode).toBe(255);
  });

  it('reaches a port of the host through a forward, and is told when nobody listens', async () => {
    const { address } = sim.state.hosts[0]!;
    const server = createServer((_, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(8123, address, resolve));
    const socket = join(sim.dir, 'forward');
    const nobody = join(sim.dir, 'nobody');
    const master = spawn(
      'ssh',
      ['-N', '-L', `${socket}:127.0.0.1:8123`, '-L', `${nobody}:127.0.0.1:8124`, ...sim.sshArgs('host-0')],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let errors = '';
    master.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    await eventually(() => existsSync(socket) && existsSync(nobody));
    expect((await execa('curl', ['-sS', '--unix-socket', socket, 'http://x/'])).stdout).toBe('hello');
    expect((await execa('curl', ['-sS', '--unix-socket', nobody, 'http://x/'], { reject: false })).exitCode).not.toBe(
      0,
    );
    await eventually(() => errors.includes('open failed: connect failed'));
    master.kill();
    server.close();
  });

  it('gets no more than ten sessions on one connection', async () => {
    const control = join(sim.dir, 'm');
    const master = spawn('ssh', ['-M', '-N', '-S', control, ...sim.sshArgs('host-0')], { stdio: 'ignore' });
    await eventually(() => existsSync(control));
    const mux = ['-S', control, '-o', 'ControlMaster=no'];
    const open = Array.from({ length: 10 }, () =>
      spawn('ssh', [...mux, ...sim.sshArgs('host-0'), 'echo on; exec sleep 60'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }),
    );
    await Promise.all(open.map((child) => new Promise((resolve) => child.stdout.once('data', resolve))));
    const eleventh = await sim.ssh('host-0', 'echo over', { args: mux });
    // The client falls back to a connection of its own, and says so.
    expect(eleventh.stderr).toContain('Session open refused by peer');
    open[0]!.kill();
    await eventually(async () => (await sim.ssh('host-0', 'echo ok', { args: mux })).stderr === '');
    master.kill();
    for (const child of open) child.kill();
  });

  it('answers keepalives', async () => {
    const seconds = patientSeconds(1);
    const answer = await sim.ssh('host-0', `sleep ${3 * seconds}; echo there`, {
      args: ['-o', `ServerAliveInterval=${seconds}`, '-o', 'ServerAliveCountMax=1'],
    });
    expect(answer).toMatchObject({ stdout: 'there\n', exitCode: 0 });
  });

  it('leaves its command running when it is killed, and that sees the end of its stdin', async () => {
    const client = spawn(
      'ssh',
      [...sim.sshArgs('host-0'), 'echo $$ >pid; cat >/dev/null; echo eof >seen; exec sleep 60'],
      { stdio: ['pipe', 'ignore', 'ignore'] },
    );
    const pid = await eventually(
      async () => Number(await readFile(join(home(), 'pid'), 'utf8').catch(() => '')) || undefined,
    );
    client.kill('SIGKILL');
    await eventually(() => existsSync(join(home(), 'seen')));
    expect(await sim.host('host-0').processes()).toContain(pid);
    process.kill(pid, 'SIGKILL');
  });
});

describe('nothing of the real machine', () => {
  it('is in the environment of a command', async () => {
    const { stdout } = await sim.ssh('host-0', 'env');
    const names = stdout
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    expect(new Set(names)).toEqual(new Set(['HOME', 'LOGNAME', 'PATH', 'PWD', 'SHELL', 'USER']));
    expect(stdout).toContain(`PATH=${join(sim.dir, 'hosts/host-0/bin')}\n`);
  });

  it.each([
    ['cat /etc/hostname', 'host-0\n'],
    ['hostname', 'host-0\n'],
    ['uname -n', 'host-0\n'],
    ['cat /proc/sys/kernel/osrelease', '6.8.0-60-generic\n'],
    ['head -n 1 /proc/cpuinfo', 'processor\t: 0\n'],
    ['grep -c processor /proc/cpuinfo', '1\n'],
    ['ls /', 'dev\netc\nopt\nproc\nsys\nusr\n'],
    ['ls /proc', 'cmdline\ncpuinfo\nmeminfo\nself\nsys\nversion\n'],
    ['nproc', '192\n'],
    ['whoami', 'ops\n'],
    ['readlink /opt/rocm', 'rocm-7.2.0\n'],
    ['sed -n s/PRETTY_NAME=//p /etc/os-release', '"Ubuntu 24.04.2 LTS"\n'],
    ['find /dev -name kfd', '/dev/kfd\n'],
  ])('is seen by `%s`', async (command, stdout) => {
    expect(hostname()).not.toBe('host-0');
    expect(await sim.ssh('host-0', command)).toEqual({ stdout, stderr: '', exitCode: 0 });
  });

  it.each(['/etc/passwd', '/root', '/var/log', '/home'])('is found at %s', async (path) => {
    const cat = await sim.ssh('host-0', `cat ${path}`);
    expect(cat).toEqual({ stdout: '', stderr: `cat: ${path}: No such file or directory\n`, exitCode: 1 });
    expect((await sim.ssh('host-0', `ls ${path}`)).exitCode).toBe(2);
  });

  it('is among the processes and sockets that tools show', async () => {
    const ps = await sim.ssh('host-0', 'ps -e -o pid=');
    expect(ps.stdout).not.toMatch(new RegExp(`\\b${process.pid}\\b`));
    expect((await sim.ssh('host-0', `ps -o pid= -p ${process.pid}`)).exitCode).toBe(1);
    expect((await sim.ssh('host-0', `cat /proc/${process.pid}/cmdline`)).stderr).toContain('No such file or directory');
    const ss = await sim.ssh('host-0', 'ss -Hltn');
    expect(ss.stdout.trim().split('\n')).toEqual([
      expect.stringMatching(/^LISTEN 0 +511 +127\.82\.1\.1:2222 +0\.0\.0\.0:\*/),
    ]);
  });

  it('is on the PATH: programs that would read it are absent', async () => {
    const { stdout } = await sim.ssh(
      'host-0',
      'for t in lspci ip mount lsblk systemctl journalctl pgrep; do command -v $t; done; true',
    );
    expect(stdout).toBe('');
  });
});

describe('commands of a host', () => {
  it('show their own processes under /proc', async () => {
    const { stdout } = await sim.ssh('host-0', 'cat /proc/$$/stat; cat "/proc/$$/comm"');
    expect(stdout).toMatch(/^\d+ \(sh\) .*\nsh\n$/);
  });

  it('read and write the home with real programs', async () => {
    const { stdout } = await sim.ssh(
      'host-0',
      'mkdir -p a && echo x >a/f && ln a/f a/g && cat a/f "$HOME/a/g" && grep -c x a/f && sed -e s/x/y/ $HOME/a/f && find a -type f | sort',
    );
    expect(stdout).toBe('x\nx\n1\ny\na/f\na/g\n');
  });

  it('take a pattern that begins with a slash for a pattern', async () => {
    const { stdout } = await sim.ssh(
      'host-0',
      'echo /etc/x >p; grep /etc p; grep -e /etc p; sed -n /x/p p; sed -n -e /x/p p',
    );
    expect(stdout).toBe('/etc/x\n/etc/x\n/etc/x\n/etc/x\n');
  });

  it('find the model with its checksums', async () => {
    const { stdout, exitCode } = await sim.ssh('host-0', 'cd share/tiny-chat && sha256sum -c SHA256SUMS');
    expect(stdout).toContain('model-00001-of-00002.safetensors: OK\n');
    expect(exitCode).toBe(0);
  });

  it('run as root where sudo allows it, without losing their input', async () => {
    const { stdout } = await sim.ssh(
      'host-0',
      'exec sudo -n /bin/sh -c \'read l; echo "$l"; cat; echo "$SUDO_USER"\'',
      { input: 'one\ntwo\n' },
    );
    expect(stdout).toBe('one\ntwo\nops\n');
  });

  it.each([
    ['df -Pk /nonexistent', 'df: /nonexistent: No such file or directory\n', 1],
    ['uname -Z', "uname: invalid option -- 'Z'\nTry 'uname --help' for more information.\n", 1],
    ['ss -Hltn --kill', "ss: invalid option -- '-'\nUsage: ss [ OPTIONS ]\n       ss [ OPTIONS ] [ FILTER ]\n", 255],
    ['rdma links', 'Object "links" is unknown, try "rdma help".\n', 254],
    ['ibv_devinfo -d nope', "IB device 'nope' wasn't found\n", 255],
    ['rocminfo --all', "rocminfo: unrecognized option '--all'\n", 1],
    ['docker2', '/bin/sh: 1: docker2: not found\n', 127],
  ])('are told what is wrong: %s', async (command, stderr, exitCode) => {
    expect(await sim.ssh('host-0', command)).toEqual({ stdout: '', stderr, exitCode });
  });
});

describe('sudo by scenario', () => {
  it('asks for the password and takes only the right one', async () => {
    const asking = await simulate({ hosts: [{ ...hosts(3, 1)![0]!, sudo: { password: 'sesame' } }] });
    const run = (input: string) =>
      asking.ssh('host-0', 'exec sudo -k -S -p "" /bin/sh -c "cat; echo as root"', { input });
    expect(await asking.ssh('host-0', 'sudo -n true')).toEqual({
      stdout: '',
      stderr: 'sudo: a password is required\n',
      exitCode: 1,
    });
    expect(await run('sesame\nrest\n')).toEqual({ stdout: 'rest\nas root\n', stderr: '', exitCode: 0 });
    expect(await run('wrong\nrest\n')).toMatchObject({ stdout: '', exitCode: 1 });
    await asking.stop();
  });
});

describe('a reboot', () => {
  it('ends every process, keeps the files and gives another boot id', async () => {
    await sim.ssh('host-1', 'echo kept >file; setsid sleep 300 >/dev/null 2>&1 </dev/null &');
    const bootId = (await sim.ssh('host-1', 'cat /proc/sys/kernel/random/boot_id')).stdout;
    expect(await sim.host('host-1').processes()).toHaveLength(1);
    await sim.host('host-1').reboot();
    expect(await sim.host('host-1').processes()).toEqual([]);
    expect((await sim.ssh('host-1', 'cat file')).stdout).toBe('kept\n');
    expect((await sim.ssh('host-1', 'cat /proc/sys/kernel/random/boot_id')).stdout).not.toBe(bootId);
  });

  it('is over when the host is stopped: connections are refused until it starts', async () => {
    await sim.host('host-1').stop();
    expect((await sim.ssh('host-1', 'true')).stderr).toContain('Connection refused');
    await sim.host('host-1').start();
    expect((await sim.ssh('host-1', 'true')).exitCode).toBe(0);
  });
});

describe('a program that is no host', () => {
  it('cannot use a tool without the token of its host', async () => {
    const script = await readFile(join(sim.dir, 'hosts/host-0/bin/docker'), 'utf8');
    const forged = script.replace(/[0-9a-f]{8}-[0-9a-f-]{27}/, '00000000-0000-0000-0000-000000000000');
    expect(forged).not.toBe(script);
    expect((await execa('bash', ['-c', forged], { reject: false })).exitCode).toBe(255);
  });
});
