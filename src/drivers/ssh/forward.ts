import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { Agent } from 'undici';
import { NetworkError, request } from '../fetch.ts';
import type { FetchInit } from '../types.ts';
import type { Connection } from './connection.ts';
import { curlFetch } from './curl.ts';
import { unreachable } from './failure.ts';
import { type Master, SSH_ENV } from './master.ts';
import { raw } from '../../text/raw.ts';

/** How long the master's word on a failed channel may come after the socket has closed. */
const WORD_MS = 200;

interface Forward {
  readonly master: Master;
  readonly agent: Agent;
  /** `-L` argument, by which it is cancelled too. */
  readonly spec: string;
}

/**
 * HTTP from a host's own network through its master: one forward per target, from a socket of ours, made at the first
 * request and again when the master was. Where the host allows no forwarding, curl on the host asks instead, which
 * takes the response whole; `onCurl` is told once.
 */
export class Forwards {
  readonly #connection: Connection;
  readonly #base: () => Promise<string>;
  readonly #onCurl: (message: string) => void;
  readonly #forwards = new Map<string, Promise<Forward>>();
  readonly #making = new Map<string, Promise<Forward>>();
  #made = 0;
  #refused = false;
  /** What the present master last said of channels that could not be opened. */
  #words: { readonly atMs: number; readonly text: string }[] = [];
  #heard: Master | undefined;

  constructor(connection: Connection, base: () => Promise<string>, onCurl: (message: string) => void) {
    this.#connection = connection;
    this.#base = base;
    this.#onCurl = onCurl;
  }

  /** Errors: NetworkError of the target, HOST_UNREACHABLE and its like of the host. */
  fetch(url: string, init: FetchInit, signal: AbortSignal | undefined): Promise<Response> {
    return this.#connection.use(async () => {
      if (this.#refused) return curlFetch(this.#connection, url, init, signal);
      const { hostname, port, protocol } = new URL(url);
      const target = `${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`;
      for (let attempt = 1; ; attempt += 1) {
        const beganMs = Date.now();
        const { agent, master } = await this.#forward(target);
        try {
          return await request(url, init, { dispatcher: agent, signal });
        } catch (error) {
          if (!(error instanceof NetworkError)) throw error;
          // Our own socket refuses when the master is gone: nothing was sent, so once more over a new one.
          const unsent = error.code === 'ECONNREFUSED';
          if (unsent && attempt === 1) await master.end();
          else if (unsent) throw unreachable(this.#connection.ref, raw(error.message), 'loses its forwards');
          else if (error.code !== 'ECONNRESET') throw error;
          else {
            const word = await this.#word(beganMs);
            if (word === undefined && !master.alive) {
              if (attempt === 1 && (init.method ?? 'GET') === 'GET') continue; // Asking twice changes nothing.
              throw unreachable(
                this.#connection.ref,
                raw(error.message),
                'lost the connection while it answered a request',
              );
            }
            if (word === undefined) throw error;
            if (!/administratively prohibited|unknown channel type/i.test(word)) {
              throw new NetworkError(codeOf(word), url, word, error);
            }
            this.#refuse(word);
            return curlFetch(this.#connection, url, init, signal);
          }
        }
      }
    });
  }

  async close(): Promise<void> {
    const forwards = [...this.#forwards.values()];
    this.#forwards.clear();
    for (const forward of forwards) {
      const { agent, master, spec } = (await forward.catch(() => undefined)) ?? {};
      await agent?.destroy();
      if (master?.alive) await control(master, 'cancel', spec!);
    }
  }

  /** The forward to a target over the present master. */
  async #forward(target: string): Promise<Forward> {
    const master = await this.#connection.master();
    const known = await this.#forwards.get(target)?.catch(() => undefined);
    if (known?.master === master) return known;
    const making = this.#making.get(target) ?? this.#make(master, target);
    this.#making.set(target, making);
    this.#forwards.set(target, making);
    void known?.agent.destroy();
    return making.finally(() => this.#making.delete(target));
  }

  async #make(master: Master, target: string): Promise<Forward> {
    if (this.#heard !== master) {
      this.#heard = master;
      this.#words = [];
      master.onLine((line) => {
        const [, text] = /open failed: (.*)/.exec(line) ?? [];
        if (text !== undefined) this.#words = [...this.#words.slice(-99), { atMs: Date.now(), text: text.trim() }];
      });
    }
    const number = (this.#made += 1); // Before any wait: two that are made at once must not share a socket.
    const socket = `${await this.#base()}-${number}.f`;
    const spec = `${socket}:${target}`;
    const { exitCode, stderr } = await control(master, 'forward', spec);
    if (exitCode !== 0) throw unreachable(this.#connection.ref, raw(stderr), 'takes no forward');
    // The limit of a request is the caller's; undici's own ones stay out of the way.
    const agent = new Agent({ connect: { socketPath: socket }, headersTimeout: 0, bodyTimeout: 0 });
    return { master, agent, spec };
  }

  /** What the master said of a failed channel since `sinceMs`. */
  async #word(sinceMs: number): Promise<string | undefined> {
    const find = () => this.#words.findLast(({ atMs }) => atMs >= sinceMs)?.text;
    for (let waitedMs = 0; waitedMs < WORD_MS && find() === undefined; waitedMs += 20) await delay(20);
    return find();
  }

  #refuse(word: string): void {
    if (this.#refused) return;
    this.#refused = true;
    this.#onCurl(
      `${this.#connection.ref.name} refuses TCP forwarding over SSH (${word}): requests go by curl on the host; answers that stream arrive whole`,
    );
  }
}

const control = (master: Master, command: 'forward' | 'cancel', spec: string) =>
  execa('ssh', [...master.through, '-O', command, '-L', spec, '--', master.target], {
    env: SSH_ENV,
    stdin: 'ignore',
    reject: false,
    timeout: 10_000,
  });

/** sshd's words for why it could not connect to the target; a server may give none. */
function codeOf(word: string) {
  if (/no route|unreachable/i.test(word)) return 'EHOSTUNREACH';
  if (/timed out/i.test(word)) return 'ETIMEDOUT';
  if (/name or service not known|could not resolve|unknown host/i.test(word)) return 'ENOTFOUND';
  return 'ECONNREFUSED';
}
