import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from './clock.ts';

/**
 * How the two halves of a request meet, over real connections, so that engines in different processes and on different
 * simulated hosts can. As in SGLang the bootstrap port is only a registry: a prefill engine puts the address of its KV
 * port into it, and a decode engine asks it for that address. Hence the trap of the taken bootstrap port: the second
 * engine's entry replaces the first one's, and the first one's rooms are asked of the wrong engine.
 */
export interface Half {
  /** The KV generation of the decode engine that asks. */
  readonly generation: string;
  /** Aborts when the decode engine gave up or is gone. */
  readonly gone: AbortSignal;
  /** Hands the KV cache over. */
  deliver(): void;
  /** Tells the decode engine why it gets none. */
  refuse(status: number, message: string): void;
}

export class KvError extends Error {
  override readonly name = 'KvError';
}

/** The prefill engine's side: bootstrap registry and KV port. */
export class KvServer {
  readonly #generation: string;
  readonly #clock: Clock;
  readonly #servers: Server[] = [];
  readonly #halves = new Map<number, Half>();
  readonly #wanted = new Map<number, (half: Half) => void>();

  constructor({ generation, clock }: { generation: string; clock: Clock }) {
    this.#generation = generation;
    this.#clock = clock;
  }

  /** Opens both ports and registers itself with whoever owns the bootstrap port. Returns the error of a taken bootstrap port, which a real engine logs and survives. */
  async open({ host, bootstrapPort }: { host: string; bootstrapPort: number }): Promise<Error | undefined> {
    const kv = this.#serve((body, res) => this.#arrive(body, res));
    await listen(kv, host, 0);
    let route = '';
    const registry = this.#serve((body, res, method) => {
      if (method === 'PUT') route = body;
      reply(res, route === '' ? 404 : 200, route);
    });
    const taken = await listen(registry, host, bootstrapPort).then(
      () => undefined,
      (error: Error) => error,
    );
    const own = JSON.stringify({ host, port: (kv.address() as AddressInfo).port });
    // Without an answer nothing is registered; the engine goes on all the same.
    await call({ host, port: bootstrapPort, method: 'PUT', path: '/route', body: own }).catch(() => undefined);
    return taken;
  }

  /** Waits until the decode half of `room` asks for its KV cache. */
  async meet(room: number, signal: AbortSignal): Promise<Half> {
    const there = this.#halves.get(room);
    if (there !== undefined) {
      this.#halves.delete(room);
      return there;
    }
    try {
      return await this.#clock.race(new Promise<Half>((resolve) => this.#wanted.set(room, resolve)), signal);
    } finally {
      this.#wanted.delete(room);
    }
  }

  close(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeAllConnections();
    }
  }

  #arrive(body: string, res: ServerResponse): void {
    const { room, generation } = JSON.parse(body) as { room: number; generation: string };
    const gone = new AbortController();
    const half: Half = {
      generation,
      gone: gone.signal,
      deliver: () => reply(res, 200, JSON.stringify({ generation: this.#generation })),
      refuse: (status, message) => reply(res, status, JSON.stringify({ generation: this.#generation, message })),
    };
    res.on('close', () => {
      if (this.#halves.get(room) === half) this.#halves.delete(room);
      if (!res.writableFinished) gone.abort(new KvError(`the decode half of room ${room} is gone`));
    });
    const wanted = this.#wanted.get(room);
    if (wanted !== undefined) wanted(half);
    else this.#halves.set(room, half);
  }

  #serve(handle: (body: string, res: ServerResponse, method: string) => void): Server {
    const server = createServer((req, res) => {
      read(req)
        .then(async (body) => {
          await this.#clock.running();
          handle(body, res, req.method ?? '');
        })
        .catch(() => res.destroy());
    });
    server.requestTimeout = 0;
    this.#servers.push(server);
    return server;
  }
}

export interface KvAddress {
  readonly host: string;
  readonly port: number;
}

/** Asks the registry at the bootstrap port for the KV port. Rejects when nobody answers or nobody is registered. */
export async function lookUp(bootstrap: KvAddress, signal: AbortSignal): Promise<KvAddress> {
  const { status, body } = await call({ ...bootstrap, method: 'GET', path: '/route', signal });
  if (status !== 200) throw new KvError(`no prefill engine is registered at ${bootstrap.host}:${bootstrap.port}`);
  return JSON.parse(body) as KvAddress;
}

export interface Delivery {
  /** 200 with the cache, 409 for another KV generation, 500 when the prefill half failed. */
  readonly status: number;
  readonly generation: string;
  readonly message?: string;
}

/** Waits at the KV port for the cache of `room`; no time limit of its own. Rejects when the connection is refused or lost. */
export async function fetchKv(
  at: KvAddress & { readonly room: number; readonly generation: string },
  signal: AbortSignal,
): Promise<Delivery> {
  const body = JSON.stringify({ room: at.room, generation: at.generation });
  const answer = await call({ host: at.host, port: at.port, method: 'POST', path: '/kv', body, signal });
  return { status: answer.status, ...(JSON.parse(answer.body) as { generation: string; message?: string }) };
}

function call(at: KvAddress & { method: string; path: string; body?: string; signal?: AbortSignal }) {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    const { host, port, method, path, signal } = at;
    const req = httpRequest({ host, port, method, path, agent: false, ...(signal && { signal }) }, (res) => {
      read(res).then((body) => resolve({ status: res.statusCode ?? 0, body }), reject);
    });
    req.on('error', reject);
    req.end(at.body);
  });
}

async function read(message: IncomingMessage): Promise<string> {
  message.setEncoding('utf8');
  let body = '';
  for await (const part of message) body += part as string;
  return body;
}

function reply(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(body);
}

/** Listens, or rejects with the error of the bind. */
export function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
