import { writeFile } from 'node:fs/promises';
import { execa } from 'execa';
import type { HostRef } from '../../plan/types.ts';
import { sshConfig } from './config.ts';
import { connectFailure } from './failure.ts';
import { lastKept, raw } from '../../text/raw.ts';

/**
 * Runs ssh and ends it when stdin ends, which the death of this process brings about: a master whose owner was killed
 * would stay for ever. A constant; ssh's arguments are its own.
 */
export const OWNED =
  'exec 3<&0; "$@" </dev/null & m=$!; { read -r x <&3; kill "$m"; } >/dev/null 2>&1 & w=$!; wait "$m"; s=$?; kill "$w"; exit "$s"';
const READY = 'tandem-master-ready';

/** Environment of every ssh of ours: messages in one language, helper commands by one shell. */
export const SSH_ENV = { LC_ALL: 'C', SHELL: '/bin/sh' };

export interface MasterFiles {
  /** The control socket. */
  readonly socket: string;
  readonly config: string;
  readonly knownHosts: string;
}

/** One connection to one host, over which all sessions and forwards go. */
export interface Master {
  readonly socket: string;
  /** Arguments with which an ssh finds this connection, and no other way to the host. */
  readonly through: readonly string[];
  readonly target: string;
  readonly alive: boolean;
  /** Told of every line that the connection says about itself. */
  onLine(listener: (line: string) => void): () => void;
  /**
   * Makes it look around. When one of its clients is killed, it is seen to tell the host only at its next turn, which
   * may be as far away as the next keep-alive.
   */
  wake(): Promise<void>;
  /** Ends it, and what goes over it. */
  end(): Promise<void>;
}

/**
 * Connects once. Resolves when commands may go over it.
 * Errors: HOST_UNREACHABLE, HOST_KEY_MISMATCH, HOST_LOGIN_REFUSED; `stderr` of ssh is the evidence.
 */
export async function startMaster(ref: HostRef, files: MasterFiles, connectTimeoutMs: number): Promise<Master> {
  const { target, config, knownHosts } = sshConfig(ref, {
    knownHostsPath: files.knownHosts,
    connectTimeoutSeconds: Math.ceil(connectTimeoutMs / 1000),
  });
  await writeFile(files.config, config, { mode: 0o600 });
  await writeFile(files.knownHosts, knownHosts, { mode: 0o600 });
  const options = ['ControlMaster=yes', 'ControlPersist=no', 'PermitLocalCommand=yes', `LocalCommand=echo ${READY}`];
  const args = ['-F', files.config, '-M', '-N', '-T', '-S', files.socket, ...options.flatMap((one) => ['-o', one])];
  const subprocess = execa('/bin/sh', ['-c', OWNED, 'sh', 'ssh', ...args, '--', target], {
    env: SSH_ENV,
    stdin: 'pipe',
    buffer: false,
    reject: false,
  });
  subprocess.stdin.on('error', () => {}); // It is written to by nobody and closes with the process.
  const listeners = new Set<(line: string) => void>();
  let said = raw('');
  let alive = true;
  const exit = subprocess.then(() => {
    alive = false;
  });
  subprocess.stderr.on('data', (chunk: Buffer) => {
    const text = chunk.toString();
    said = lastKept(raw(said + text));
    for (const line of text.split('\n')) for (const listener of listeners) listener(line);
  });
  const end = async () => {
    subprocess.stdin.end();
    await exit;
  };
  // A bastion's own time limit comes on top of the host's.
  const late = setTimeout(() => void end(), connectTimeoutMs * (1 + ref.ssh.jump.length) + 5_000);
  const ready = new Promise<true>((resolve) => {
    subprocess.stdout.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes(READY)) resolve(true);
    });
  });
  const connected = await Promise.race([ready, exit]);
  clearTimeout(late);
  if (!connected) throw connectFailure(ref, said);
  const through = ['-F', files.config, '-S', files.socket, '-o', 'ControlMaster=no', '-o', `ProxyCommand=${NO_WAY}`];
  return {
    socket: files.socket,
    // ssh connects by itself when the master is gone; its ProxyCommand then fails instead, and says so.
    through,
    target,
    get alive() {
      return alive;
    },
    onLine(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async wake() {
      if (!alive) return;
      await execa('ssh', [...through, '-O', 'check', '--', target], { env: SSH_ENV, reject: false, timeout: 5_000 });
    },
    end,
  };
}

/** What ssh says, by its ProxyCommand, when the command never left this machine because there is no master. */
export const NO_MASTER = 'tandem-no-master';

/** sh prints before it closes the pipe that ssh reads, unlike an echo alone. */
const NO_WAY = `sh -c "echo ${NO_MASTER} >&2"`;
