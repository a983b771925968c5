import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ssh2, { type Connection, type ServerChannel } from 'ssh2';
import type { HostRef } from '../../src/plan/types.ts';
import { forwardTo, relayOutput } from '../../src/sim/ssh-channels.ts';
import { newKeyPair } from '../../src/sim/ssh-keys.ts';

/** A small SSH server for tests of the SSH driver: it runs command lines by a login shell of choice, as sshd does. */
export interface TestServer {
  readonly ref: HostRef;
  readonly home: string;
  /** Connections made so far. */
  readonly connections: () => number;
  /** The most sessions that were open at once. */
  readonly sessionsAtOnce: () => number;
  /** Cuts every connection, as a broken network does. Commands on the host live on. */
  readonly cut: () => void;
  readonly close: () => Promise<void>;
}

export interface TestServerOptions {
  readonly address: string;
  /** A shell and its options, called with "-c" and the command line. Default sh. */
  readonly loginShell?: readonly string[];
  readonly maxSessions?: number;
  /** False: the server has no TCP forwarding, as sshd with AllowTcpForwarding no. */
  readonly forwarding?: boolean;
  /** Connections that are reset before a word, as sshd does beyond MaxStartups. */
  readonly resets?: number;
  /** Programs put on the PATH before the machine's: name to text. */
  readonly programs?: Readonly<Record<string, string>>;
  /** The rest of the PATH. Default: this machine's. */
  readonly path?: string;
  readonly ref?: (ref: HostRef) => HostRef;
}

const USER = 'ops';

export async function startTestServer({
  address,
  loginShell = ['sh'],
  maxSessions = 10,
  forwarding = true,
  resets = 0,
  programs = {},
  path = process.env['PATH'] ?? '',
  ref = (own) => own,
}: TestServerOptions): Promise<TestServer> {
  const home = await mkdtemp(join(tmpdir(), 'tandem-home-'));
  const bin = join(home, 'bin');
  await mkdir(bin);
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(bin, name), text);
    await chmod(join(bin, name), 0o755);
  }
  const hostKey = newKeyPair();
  const clientKey = newKeyPair();
  const identityFile = join(home, 'id_ed25519');
  await writeFile(identityFile, clientKey.private, { mode: 0o600 });
  const allowed = ssh2.utils.parseKey(clientKey.public);
  if (allowed instanceof Error) throw allowed;

  const sockets = new Set<Socket>();
  let connections = 0;
  let resetsLeft = resets;
  let most = 0;
  const protocol = new ssh2.Server({ hostKeys: [hostKey.private] }, (connection) => {
    connection.on('error', () => connection.end());
    connection.on('authentication', (attempt) => {
      if (attempt.method !== 'publickey' || attempt.username !== USER) return attempt.reject(['publickey']);
      if (!attempt.key.data.equals(allowed.getPublicSSH())) return attempt.reject(['publickey']);
      if (attempt.signature && allowed.verify(attempt.blob!, attempt.signature, attempt.hashAlgo) !== true) {
        return attempt.reject(['publickey']);
      }
      attempt.accept();
    });
    connection.on('ready', () => {
      serveSessions(connection);
      if (!forwarding) return; // ssh2 then answers "administratively prohibited", as sshd does.
      connection.on('tcpip', (accept, reject, { destIP, destPort }) =>
        forwardTo({ host: destIP, port: destPort }, accept, reject),
      );
    });
  });
  const serveSessions = (connection: Connection) => {
    let open = 0;
    connection.on('session', (accept, reject) => {
      if (open >= maxSessions) return reject();
      open += 1;
      most = Math.max(most, open);
      const session = accept();
      session.on('close', () => (open -= 1));
      session.on('env', (_, refuse: (() => void) | undefined) => refuse?.());
      session.on('exec', (acceptExec, _, { command }) => runCommand(acceptExec(), command));
    });
  };
  const [shell = 'sh', ...shellOptions] = loginShell;
  const runCommand = (channel: ServerChannel, command: string) => {
    const env = { HOME: home, USER, PATH: `${bin}:${path}` };
    const child = spawn(shell, [...shellOptions, '-c', command], { cwd: home, env, detached: true });
    for (const stream of [child.stdin, child.stdout, child.stderr, channel]) stream.on('error', () => {});
    channel.pipe(child.stdin);
    const output = relayOutput(child, channel);
    child.on('close', async (code, signal) => {
      await output.sent();
      if (signal) channel.exit(signal.slice(3), false, '');
      else channel.exit(code ?? 255);
      channel.end();
    });
    channel.on('close', () => {
      child.stdin.destroy();
      child.stdout.destroy();
      child.stderr.destroy();
    });
  };
  const server = createServer((socket) => {
    connections += 1;
    if (resetsLeft > 0) {
      resetsLeft -= 1;
      return void socket.resetAndDestroy();
    }
    sockets.add(socket.setNoDelay(true));
    socket.on('close', () => sockets.delete(socket));
    protocol.injectSocket(socket);
  });
  const port = await listen(server, address);
  return {
    home,
    ref: ref({
      name: `host-${port}`,
      address,
      port,
      user: USER,
      fabricAddress: address,
      hostKey: hostKey.public.trim(),
      ssh: { identityFile, knownHostsFile: '/dev/null', jump: [], become: 'none' },
      stateDir: '~/state',
      leaseDir: '~/leases',
    }),
    connections: () => connections,
    sessionsAtOnce: () => most,
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Listens on a free port of an address and says which. */
export function listen(server: ReturnType<typeof createServer>, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, address, () => {
      const at = server.address();
      if (at === null || typeof at === 'string') throw new TypeError('the server has no port');
      resolve(at.port);
    });
  });
}
