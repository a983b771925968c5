import { setTimeout as delay } from 'node:timers/promises';
import pLimit, { type LimitFunction } from 'p-limit';
import { DeployError } from '../../errors.ts';
import type { HostRef } from '../../plan/types.ts';
import type { Command, Output } from '../types.ts';
import type { Become } from './command-line.ts';
import { isReset, loginRefused, unreachable } from './failure.ts';
import { type Master, startMaster } from './master.ts';
import { endLost } from './runner.ts';
import { runFrame } from './session.ts';
import { raw } from '../../text/raw.ts';

/** sshd takes 10 sessions on a connection unless told otherwise; some stay free for people's own tools. */
const SESSIONS = 8;
/** Tries of a connection that sshd drops unheard, and of a session that it refuses: some 5 s in all. */
const TRIES = 7;
const FIRST_WAIT_MS = 60;

export interface ConnectionOptions {
  /** Path that this host's sockets and files begin with. */
  readonly base: () => Promise<string>;
  readonly connectTimeoutMs: number;
  /** After this long without use the master ends, in milliseconds: 256 of them hold 0.9 GB. */
  readonly idleMs: number;
  readonly outputLimitBytes: number;
  /** Bounds connecting, per bastion or host. */
  readonly connecting: LimitFunction;
  /** The password for sudo; asked for only when sudo asks. */
  readonly password: () => Promise<string | undefined>;
}

export interface RunOptions {
  readonly parallel?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Overrides the spec's `become`: for what concerns the user who logs in. */
  readonly become?: 'none' | undefined;
}

/** One host: its master, at most 8 sessions on it, and what lost connections may have left there. */
export class Connection {
  readonly ref: HostRef;
  readonly #options: ConnectionOptions;
  readonly #sessions = pLimit(SESSIONS);
  #master: Promise<Master> | undefined;
  #connecting: Promise<Master> | undefined;
  #masters = 0;
  #become: Become;
  /** Frames whose connection was lost: by id, when they are over at the latest. */
  readonly #lost = new Map<string, number>();
  #settling: Promise<void> | undefined;
  /** The home of the user who logs in. */
  #home: string | undefined;
  #asking: Promise<unknown> | undefined;
  #uses = 0;
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(ref: HostRef, options: ConnectionOptions) {
    this.ref = ref;
    this.#options = options;
    this.#become = ref.ssh.become;
  }

  /**
   * Runs commands in one round trip. After an abort it rejects with the signal's reason once the remote work is over.
   * Errors: HOST_UNREACHABLE, HOST_KEY_MISMATCH, HOST_LOGIN_REFUSED, COMMAND_FAILED where no command can run at all.
   */
  run(commands: readonly Command[], options: RunOptions = {}): Promise<Output[]> {
    return this.use(async () => {
      if (commands.length === 0) return [];
      await this.#settle();
      return this.#queued(commands, options);
    });
  }

  /** The home of the user who logs in, whoever commands run as: it comes with the answer to any that run as that user. */
  async home(): Promise<string> {
    if (this.#home !== undefined) return this.#home;
    const ask = () => this.run([{ argv: ['true'], timeoutMs: 30_000 }], { become: 'none' });
    this.#asking ??= ask().finally(() => (this.#asking = undefined));
    await this.#asking;
    return this.#home!;
  }

  /** The master, connected at the first call and again when it died. Errors: as `run`. */
  async master(): Promise<Master> {
    if (this.#closed) throw unreachable(this.ref, raw('the driver was closed'), 'is no longer connected');
    const current = await this.#master?.catch(() => undefined);
    if (current?.alive) return current;
    // Others may have come here in the meantime: the first of them connects, the rest wait for it.
    if (this.#connecting === undefined) {
      this.#connecting = this.#connect().finally(() => (this.#connecting = undefined));
      this.#master = this.#connecting;
      this.#master.catch(() => {}); // Whoever waits hears it; nobody may.
    }
    return this.#connecting;
  }

  /** Keeps the master while `task` runs. */
  async use<T>(task: () => Promise<T>): Promise<T> {
    this.#uses += 1;
    clearTimeout(this.#idle);
    try {
      return await task();
    } finally {
      this.#uses -= 1;
      if (this.#uses === 0 && !this.#closed) {
        this.#idle = setTimeout(() => void this.#end(), this.#options.idleMs).unref();
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idle);
    await this.#end();
  }

  async #end(): Promise<void> {
    const master = await this.#master?.catch(() => undefined);
    await master?.end();
  }

  async #connect(): Promise<Master> {
    const { connectTimeoutMs, connecting } = this.#options;
    const base = await this.#options.base();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await connecting(async () => {
          this.#masters += 1; // A socket of its own: the old master removes its one as it ends.
          const socket = `${base}-${this.#masters}.m`;
          return startMaster(
            this.ref,
            { socket, config: `${base}.conf`, knownHosts: `${base}.keys` },
            connectTimeoutMs,
          );
        });
      } catch (error) {
        const again = error instanceof DeployError && error.retryable && isReset(error.evidence ?? '');
        if (!again || attempt === TRIES || this.#closed) throw error;
        await delay(jittered(attempt));
      }
    }
  }

  /** Waits for a free session; an abort while waiting has nothing to end. */
  #queued(commands: readonly Command[], options: RunOptions): Promise<Output[]> {
    const { signal } = options;
    return new Promise((resolve, reject) => {
      const abort = () => reject(reason(signal));
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.#sessions(async () => {
        if (signal?.aborted) return [];
        signal?.removeEventListener('abort', abort);
        return this.#run(commands, options);
      }).then(resolve, reject);
    });
  }

  async #run(commands: readonly Command[], { parallel = false, signal, become }: RunOptions): Promise<Output[]> {
    for (let attempt = 1; ; attempt += 1) {
      const master = await this.master();
      if (signal?.aborted) throw reason(signal);
      const as = become ?? this.#become;
      const end = await runFrame(master, commands, {
        ref: this.ref,
        become: as,
        password: as === 'sudoPassword' ? await this.#options.password() : undefined,
        parallel,
        outputLimitBytes: this.#options.outputLimitBytes,
        signal,
      });
      if (end.kind === 'lost') {
        this.#lost.set(end.id, end.overAtMs);
        if (signal?.aborted) throw reason(signal);
        throw end.error;
      }
      if (end.kind === 'answered' && as === 'none') this.#home = end.home;
      if (signal?.aborted) throw reason(signal);
      if (end.kind === 'answered') return end.outputs;
      if (end.kind === 'sudo-asks') await this.#askForPassword();
      else if (attempt === TRIES) throw unreachable(this.ref, raw(end.kind), 'gives no session');
      else if (end.kind === 'no-session') {
        // The host allows fewer sessions than most do: be content with those it gave.
        this.#sessions.concurrency = Math.max(1, Math.min(this.#sessions.concurrency, this.#sessions.activeCount) - 1);
        await delay(jittered(attempt));
      } else await master.end(); // Dead, or its socket is gone: the next call connects anew.
    }
  }

  async #askForPassword(): Promise<void> {
    if ((await this.#options.password()) === undefined) {
      throw loginRefused(this.ref, raw('sudo asks for a password'), 'sudo without a password');
    }
    this.#become = 'sudoPassword';
  }

  /** Before a host is touched again after a lost connection, what ran over that one is ended or its limit is over. */
  async #settle(): Promise<void> {
    for (const [id, overAtMs] of this.#lost) if (overAtMs < Date.now()) this.#lost.delete(id);
    if (this.#lost.size === 0) return;
    this.#settling ??= this.#endLost().finally(() => (this.#settling = undefined));
    await this.#settling;
  }

  async #endLost(): Promise<void> {
    const ids = [...this.#lost.keys()];
    const [output] = await this.#queued([{ argv: endLost(ids), timeoutMs: 30_000 }], {});
    if (output?.exitCode !== 0) {
      throw unreachable(this.ref, output?.stderr ?? raw(''), 'still runs a command whose connection was lost');
    }
    for (const id of ids) this.#lost.delete(id);
  }
}

/** Milliseconds before the next try: doubled each time, and apart from what others wait. */
const jittered = (attempt: number) => FIRST_WAIT_MS * 2 ** attempt * (0.5 + Math.random() / 2);

export const reason = (signal: AbortSignal | undefined): Error =>
  (signal?.reason as Error | undefined) ?? new DOMException('The call was aborted', 'AbortError');
