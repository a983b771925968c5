import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel, type Session } from 'ssh2';
import type { SshFault } from './faults.ts';
import { forwardTo, relayOutput } from './ssh-channels.ts';

export interface SshdOptions {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** Own private key of the host, in OpenSSH's format. */
  readonly hostKey: string;
  /** The one public key that may log in, "ssh-ed25519 AAAA…". */
  readonly clientKey: string;
  readonly home: string;
  /** Environment of every command. */
  readonly env: Readonly<Record<string, string>>;
  readonly maxSessions: number;
  readonly forwarding: boolean;
  /** Asked for every connection. */
  readonly fault: () => SshFault | undefined;
  /** Told of every command line. */
  readonly ran: (command: string) => void;
  /** How much later than it was sent a command line begins, in milliseconds: a host that is far away. */
  readonly latencyMs: () => number;
}

export interface Sshd {
  /** Closes the port and resets every connection; commands live on, as under a real sshd. */
  close(): Promise<void>;
  /**
   * Packets are lost from now on: what is connected hears nothing more and is not heard, new connections get no answer,
   * and neither side is told.
   */
  cut(): void;
  /** Packets arrive again, those of the meantime included. */
  mend(): void;
}

/**
 * An SSH server of one simulated host, for the real OpenSSH client: logs in one user by one key, runs commands as real
 * processes through /bin/sh -c, forwards TCP, and refuses more sessions on a connection than sshd's MaxSessions.
 */
export async function startSshd(options: SshdOptions): Promise<Sshd> {
  const clientKey = ssh2.utils.parseKey(options.clientKey);
  if (clientKey instanceof Error) throw clientKey;
  const sockets = new Set<Socket>();
  /** Connections that came during a cut, in the order in which they are answered after it. */
  let unheard: Socket[] | undefined;
  const protocol = new ssh2.Server({ hostKeys: [options.hostKey], ident: 'OpenSSH_9.6p1' }, (connection) => {
    connection.on('error', () => connection.end()); // The client went away in the middle of a packet.
    connection.on('authentication', (attempt) => authenticate(attempt, options.user, clientKey));
    connection.on('ready', () => serve(connection, options));
  });
  const server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on('close', () => sockets.delete(socket));
    const fault = options.fault();
    if (fault?.ssh === 'refuses') return void socket.resetAndDestroy();
    if (fault?.ssh === 'silent') return void socket.resume().on('error', () => socket.destroy());
    if (fault?.ssh === 'drops') {
      const timer = setTimeout(() => socket.resetAndDestroy(), fault.afterMs);
      socket.on('close', () => clearTimeout(timer));
    }
    if (unheard) unheard.push(socket);
    else protocol.injectSocket(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port, options.address, resolve);
  });
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.resetAndDestroy();
      }),
    cut: () => {
      if (unheard) return;
      unheard = [];
      for (const socket of sockets) {
        socket.pause();
        socket.cork(); // What is written stays here.
      }
    },
    mend: () => {
      const late = unheard ?? [];
      unheard = undefined;
      for (const socket of sockets) {
        if (late.includes(socket)) protocol.injectSocket(socket);
        else {
          socket.uncork();
          socket.resume();
        }
      }
    },
  };
}

function authenticate(attempt: AuthContext, user: string, key: ParsedKey): void {
  if (attempt.method !== 'publickey') return attempt.reject(['publickey']);
  const known = attempt.username === user && attempt.key.data.equals(key.getPublicSSH());
  // The first question is only whether this key would do; the second one is signed.
  const proven = !attempt.signature || key.verify(attempt.blob!, attempt.signature, attempt.hashAlgo) === true;
  if (known && proven) attempt.accept();
  else attempt.reject(['publickey']);
}

function serve(connection: Connection, options: SshdOptions): void {
  let sessions = 0;
  /** Command lines that are on their way. */
  const coming = new Set<NodeJS.Timeout>();
  connection.on('close', () => coming.forEach(clearTimeout));
  connection.on('session', (accept, reject) => {
    if (sessions >= options.maxSessions) return reject();
    sessions += 1;
    const session = accept();
    session.on('close', () => (sessions -= 1));
    session.on('exec', (acceptExec, _, { command }) => {
      const channel = acceptExec();
      const latencyMs = options.latencyMs();
      if (latencyMs === 0) return begin(channel, session, command, options);
      const timer = setTimeout(() => {
        coming.delete(timer);
        begin(channel, session, command, options);
      }, latencyMs);
      coming.add(timer);
    });
    // No terminal, no shell, no sftp: the product needs none of them.
    for (const request of ['pty', 'shell', 'subsystem', 'x11', 'auth-agent'] as const) {
      session.on(request as 'shell', (_, refuse: (() => void) | undefined) => refuse?.());
    }
    session.on('env', (_, refuse: (() => void) | undefined) => refuse?.());
  });
  // Without a listener ssh2 answers "administratively prohibited", as sshd with AllowTcpForwarding no; `reject` would
  // say that nothing listens at the target.
  if (!options.forwarding) return;
  connection.on('tcpip', (accept, reject, { destIP, destPort }) => {
    const host = ['localhost', '127.0.0.1', '::1'].includes(destIP) ? options.address : destIP;
    if (!host.startsWith('127.')) return reject();
    forwardTo({ host, port: destPort }, accept, reject);
  });
}

/** A command of the login shell, in a session of its own. A lost connection ends its stdin and nothing else. */
function begin(channel: ServerChannel, session: Session, command: string, options: SshdOptions): void {
  options.ran(command);
  const child = spawn('/bin/sh', ['-c', command], { cwd: options.home, env: options.env, detached: true });
  const { stdin, stdout, stderr } = child;
  for (const stream of [stdin, stdout, stderr, channel]) stream.on('error', () => {}); // Either side may go first.
  channel.pipe(stdin);
  const output = relayOutput(child, channel);
  session.on('signal', (_, __, { name }) => {
    if (child.exitCode !== null || child.pid === undefined) return;
    try {
      process.kill(-child.pid, `SIG${name}` as NodeJS.Signals);
    } catch {
      // It ended a moment ago.
    }
  });
  child.on('error', () => channel.exit(255));
  child.on('close', async (code, signal) => {
    await output.sent();
    if (signal) channel.exit(signal.slice(3), false, '');
    else channel.exit(code ?? 255);
    channel.end();
  });
  channel.on('close', () => {
    stdin.destroy();
    stdout.destroy();
    stderr.destroy();
    child.unref();
  });
}
