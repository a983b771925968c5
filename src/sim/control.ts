import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';
import type { Fault } from './faults.ts';
import type { SimHost } from './host.ts';

export interface Controlled {
  setFaults(faults: readonly z.input<typeof Fault>[]): Promise<void>;
  addFault(fault: z.input<typeof Fault>): Promise<void>;
  counts(): object;
  host(name: string): SimHost;
}

export interface Control {
  readonly url: string;
  readonly token: string;
  close(): Promise<void>;
}

/**
 * How another process steers a simulation, JSON in and out: GET /counts; PUT /faults with a list; POST /faults with
 * one; of a host GET /hosts/NAME/{files,processes,calls,containers} and POST /hosts/NAME/ with one of reboot, stop and
 * start (power), cut and mend (network), sshd-stop and sshd-start.
 */
export async function startControl(simulation: Controlled): Promise<Control> {
  const token = randomBytes(24).toString('base64url');
  const server = createServer((request, response) => {
    const reply = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (request.headers.authorization !== `Bearer ${token}`) return void reply(401, { error: 'wrong token' });
    handle(simulation, request).then(
      (body) => (body === undefined ? reply(404, { error: `no ${request.method} ${request.url}` }) : reply(200, body)),
      (error: unknown) =>
        reply(error instanceof z.ZodError ? 400 : error instanceof RangeError ? 404 : 500, {
          error: error instanceof Error ? error.message : String(error),
        }),
    );
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function handle(simulation: Controlled, request: IncomingMessage): Promise<unknown> {
  const [, first, name, what] = (request.url ?? '').split('/').map(decodeURIComponent);
  const to = `${request.method} ${first}${what === undefined ? '' : `/${what}`}`;
  switch (to) {
    case 'GET counts':
      return simulation.counts();
    case 'PUT faults':
      await simulation.setFaults((await json(request)) as z.input<typeof Fault>[]);
      return {};
    case 'POST faults':
      await simulation.addFault((await json(request)) as z.input<typeof Fault>);
      return {};
    case 'GET hosts/files':
      return simulation.host(name!).files();
    case 'GET hosts/processes':
      return simulation.host(name!).processes();
    case 'GET hosts/calls':
      return simulation.host(name!).calls;
    case 'GET hosts/containers':
      return [...simulation.host(name!).docker.containers.values()].map(({ name: container, state, config }) => ({
        name: container,
        state,
        labels: config.labels,
      }));
    default: {
      const act = first === 'hosts' && request.method === 'POST' ? HOST_ACTS.get(what ?? '') : undefined;
      if (!act) return undefined;
      await act(simulation.host(name!));
      return {};
    }
  }
}

/** What can happen to a host. */
const HOST_ACTS: ReadonlyMap<string, (host: SimHost) => Promise<void> | void> = new Map([
  ['reboot', (host: SimHost) => host.reboot()],
  ['stop', (host: SimHost) => host.stop()],
  ['start', (host: SimHost) => host.start()],
  ['cut', (host: SimHost) => host.cutNetwork()],
  ['mend', (host: SimHost) => host.mendNetwork()],
  ['sshd-stop', (host: SimHost) => host.stopSshd()],
  ['sshd-start', (host: SimHost) => host.startSshd()],
] as const);

async function json(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString());
}
