import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Clock } from './clock.ts';

const GOODBYE = 'bye\n';

/** How the ranks of an engine over several hosts find each other: rank 0 listens at --dist-init-addr, the others stay connected to it. */
export class Ranks {
  readonly #clock: Clock;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #resolveEnded: (graceful: boolean) => void = () => undefined;
  /** Resolves when a peer is gone; true when rank 0 said goodbye before. */
  readonly ended: Promise<boolean> = new Promise((resolve) => (this.#resolveEnded = resolve));

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Rank 0: waits for all the others, then tells them to go on. Rejects when the port is taken. */
  async lead({ host, port, others }: { host: string; port: number; others: number }): Promise<void> {
    const complete = new Promise<void>((resolve, reject) => {
      this.#server = createServer((socket) => {
        this.#adopt(socket);
        if (this.#sockets.size === others) resolve();
      });
      this.#server.on('error', reject);
      this.#server.listen({ host, port });
    });
    await this.#clock.race(complete);
    for (const socket of this.#sockets) socket.write('go\n');
  }

  /** A rank above 0: tries until rank 0 is there, and waits until it has them all. */
  async follow({ host, port, rank }: { host: string; port: number; rank: number }): Promise<void> {
    for (;;) {
      const socket = await this.#clock.race(dial(host, port)).catch(() => undefined);
      await this.#clock.running();
      if (socket !== undefined) {
        this.#adopt(socket);
        socket.write(`rank ${rank}\n`);
        await this.#clock.race(new Promise<void>((resolve) => socket.once('data', () => resolve())));
        return;
      }
      await this.#clock.sleep(50);
    }
  }

  /** Rank 0 ends in peace. */
  dismiss(): void {
    for (const socket of this.#sockets) socket.end(GOODBYE);
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) if (!socket.writableEnded) socket.destroy();
  }

  #adopt(socket: Socket): void {
    this.#sockets.add(socket);
    let graceful = false;
    socket.on('data', (data) => {
      if (data.toString().endsWith(GOODBYE)) graceful = true;
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#resolveEnded(graceful);
    });
  }
}

function dial(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port }, () => resolve(socket));
    socket.once('error', reject);
  });
}
