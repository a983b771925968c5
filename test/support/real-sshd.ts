import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { newKeyPair } from '../../src/sim/ssh-keys.ts';
import { until } from './processes.ts';
import { listen, type TestServer } from './ssh-server.ts';

const SSHD = '/usr/sbin/sshd';

/** OpenSSH's own server, where this machine has it. */
export const haveSshd = existsSync(SSHD);

/** A real sshd on a loopback address, for the user who runs the tests. */
export async function startRealSshd(address: string): Promise<Pick<TestServer, 'ref' | 'home' | 'close'>> {
  const home = await mkdtemp(join(tmpdir(), 'tandem-sshd-'));
  const probe = createServer();
  const port = await listen(probe, address);
  await new Promise((resolve) => probe.close(resolve));
  const hostKey = newKeyPair();
  const clientKey = newKeyPair();
  const file = (name: string) => join(home, name);
  await writeFile(file('host'), hostKey.private, { mode: 0o600 });
  await writeFile(file('id'), clientKey.private, { mode: 0o600 });
  await writeFile(file('allowed'), clientKey.public, { mode: 0o600 });
  const config = [
    `ListenAddress ${address}:${port}`,
    `HostKey ${file('host')}`,
    `AuthorizedKeysFile ${file('allowed')}`,
    'StrictModes no',
    'UsePAM no',
    'PasswordAuthentication no',
    'PidFile none',
  ];
  await writeFile(file('config'), `${config.join('\n')}\n`);
  if (userInfo().uid === 0) await mkdir('/run/sshd', { recursive: true });
  const sshd = spawn(SSHD, ['-D', '-e', '-f', file('config')], { stdio: 'ignore' });
  await until('sshd listens', () => answers(address, port));
  return {
    home,
    ref: {
      name: `sshd-${port}`,
      address,
      port,
      user: userInfo().username,
      fabricAddress: address,
      hostKey: hostKey.public.trim(),
      ssh: { identityFile: file('id'), knownHostsFile: '/dev/null', jump: [], become: 'none' },
      stateDir: file('state'),
      leaseDir: file('leases'),
    },
    async close() {
      sshd.kill();
      await rm(home, { recursive: true, force: true });
    },
  };
}

const answers = (host: string, port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connect({ host, port });
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
