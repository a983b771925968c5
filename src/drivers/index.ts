import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { rm } from 'node:fs/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import type { HostRef } from '../plan/types.ts';
import { directFetch } from './fetch.ts';
import { secretValue } from './secrets.ts';
import { Connection } from './ssh/connection.ts';
import { Forwards } from './ssh/forward.ts';
import { sshHost } from './ssh/host.ts';
import { defaultRuntimeDir, openRuntimeDir } from './ssh/runtime-dir.ts';
import type { Drivers } from './types.ts';
import { visible } from '../text/visible.ts';
import type { SecretRef } from '../spec/schema.ts';

/** sshd begins to drop fresh connections at ten that have not logged in. */
const CONNECTING = 4;

export interface DriverOptions {
  /** Folder for control sockets on this machine; its path is short. Default TANDEM_RUNTIME_DIR, else /tmp/tandem-<uid>. */
  readonly runtimeDir?: string;
  /** Limit of a first contact, in milliseconds. Default 15,000. */
  readonly connectTimeoutMs?: number;
  /** A connection that nobody used for so long ends, in milliseconds. Default 300,000. */
  readonly idleMs?: number;
  /** Kept of each stream of a command, in bytes. Default 4 MiB. */
  readonly outputLimitBytes?: number;
  /** Told of every secret that was resolved, so that it can be kept out of texts. */
  readonly onSecret?: (value: string) => void;
  /** Told once per host of what works less well than it could. Default: standard error. */
  readonly onWarning?: (message: string) => void;
}

/** The drivers of a Temporal worker: hosts by OpenSSH, secrets of this machine, HTTP. Contacts nobody yet. */
export function createDrivers({
  runtimeDir = defaultRuntimeDir(),
  connectTimeoutMs = 15_000,
  idleMs = 300_000,
  outputLimitBytes = 4 * 1024 * 1024,
  onSecret,
  onWarning = (message) => console.error(visible(message)),
}: DriverOptions = {}): Drivers {
  const secret = async (ref: SecretRef) => {
    const value = await secretValue(ref);
    onSecret?.(value);
    return value;
  };
  const hosts = new Map<string, Reached>();
  const connecting = new Map<string, LimitFunction>();
  let folder: Promise<string> | undefined;
  const reach = (ref: HostRef): Reached => {
    const key = keyOf(ref);
    const known = hosts.get(key);
    if (known) return known;
    const [first = ref] = ref.ssh.jump;
    const place = `${first.address}:${first.port}`;
    if (!connecting.has(place)) connecting.set(place, pLimit(CONNECTING));
    const base = async () => `${await (folder ??= openRuntimeDir(runtimeDir))}/${key}`;
    const connection = new Connection(ref, {
      base,
      connectTimeoutMs,
      idleMs,
      outputLimitBytes,
      connecting: connecting.get(place)!,
      password: async () => (ref.ssh.becomePassword ? secret(ref.ssh.becomePassword) : undefined),
    });
    const reached: Reached = { connection, forwards: new Forwards(connection, base, onWarning) };
    hosts.set(key, reached);
    return reached;
  };
  return {
    host(ref, signal, { together = false } = {}) {
      const { connection, forwards } = reach(ref);
      return sshHost(ref, connection, { forwards, signal, together });
    },
    secret,
    fetch: directFetch,
    async close() {
      const reached = [...hosts.values()];
      await Promise.all(reached.map(({ forwards }) => forwards.close()));
      await Promise.all(reached.map(({ connection }) => connection.close()));
      if (folder) await rm(await folder, { recursive: true, force: true });
    },
  };
}

interface Reached {
  readonly connection: Connection;
  readonly forwards: Forwards;
}

/** All that a connection depends on, in 12 characters. */
function keyOf({ name, address, port, user, hostKey, ssh }: HostRef): string {
  return bytesToHex(sha256(utf8ToBytes(JSON.stringify([name, address, port, user, hostKey, ssh]))).subarray(0, 6));
}
