import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers, Fetch } from '../../src/drivers/types.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { processesWith, textOf } from '../support/processes.ts';
import { listen, startTestServer, type TestServer } from '../support/ssh-server.ts';

/** A target in the host's network, as an engine is: it echoes, streams, hangs, hangs up. */
function target(): Server {
  return createServer((request, response) => {
    if (request.url === '/hang') return;
    if (request.url === '/cut') return void request.socket.destroy();
    if (request.url === '/stream') {
      response.write('one');
      return release(response);
    }
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      response.writeHead(request.url === '/missing' ? 404 : 200, { 'x-seen': request.headers.authorization ?? 'none' });
      response.end(`${request.method} ${request.url} ${body}`);
    });
  });
}
/** The second half of a stream waits until the test has seen the first. */
let release: (response: { end(text: string): void }) => void = (response) => response.end('');

let folder: string;
let web: Server;
let base: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-fetch-'));
  web = target();
  base = `http://127.81.5.9:${await listen(web, '127.81.5.9')}`;
});
afterAll(async () => {
  web.closeAllConnections();
  web.close();
  await rm(folder, { recursive: true });
});

const ways = [
  { way: 'a forward through its master', forwarding: true, address: '127.81.5.1' },
  { way: 'curl on the host, where forwarding is off,', forwarding: false, address: '127.81.5.2' },
];
describe.each(ways)('HTTP from the network of a host by $way', ({ forwarding, address }) => {
  let server: TestServer;
  let drivers: Drivers;
  let fetch: Fetch;
  const warnings: string[] = [];
  beforeAll(async () => {
    server = await startTestServer({ address, forwarding });
    drivers = createDrivers({ runtimeDir: join(folder, 'r'), onWarning: (message) => warnings.push(message) });
    ({ fetch } = drivers.host(server.ref));
  });
  afterAll(async () => {
    await drivers.close();
    await server.close();
  });

  it('carries method, headers and body, and brings status, headers and body', async () => {
    const body = `{"text": "it's \\\\ \\"quoted\\"\\n"}\n@file ü`;
    const response = await fetch(`${base}/missing`, {
      method: 'PATCH',
      headers: { authorization: 'Bearer "k\\y"' },
      body,
      timeoutMs: ANSWER_MS,
    });
    expect(response.status).toBe(404);
    expect(response.headers.get('x-seen')).toBe('Bearer "k\\y"');
    expect(await response.text()).toBe(`PATCH /missing ${body}`);
  });

  it('tells a refused connection by ECONNREFUSED', async () => {
    const refused = fetch('http://127.81.5.9:30999/', { timeoutMs: ANSWER_MS });
    await expect(refused).rejects.toMatchObject({ name: 'NetworkError', code: 'ECONNREFUSED' });
  });

  it('tells a target that hangs up by ECONNRESET', async () => {
    await expect(fetch(`${base}/cut`, { timeoutMs: ANSWER_MS })).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  it('ends at its limit', async () => {
    await expect(fetch(`${base}/hang`, { timeoutMs: 300 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });

  it('ends when the caller aborts, by its reason', async () => {
    const stop = new AbortController();
    const answer = drivers.host(server.ref, stop.signal).fetch(`${base}/hang`, { timeoutMs: 600_000 });
    stop.abort(new Error('enough'));
    await expect(answer).rejects.toThrow('enough');
  });

  it('serves many requests at once', async () => {
    const urls = Array.from({ length: 12 }, (_, index) => `${base}/${index}`);
    const texts = await Promise.all(urls.map(async (url) => (await fetch(url, { timeoutMs: ANSWER_MS })).text()));
    expect(texts).toEqual(urls.map((_, index) => `GET /${index} `));
  });

  it('brings the first requests to many ports of a host, sent at once, each to its own', async () => {
    const servers = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => createServer((_, response) => response.end(name)));
    const ports = await Promise.all(servers.map((each) => listen(each, '127.81.5.9')));
    const ask = async (port: number) => (await fetch(`http://127.81.5.9:${port}/`, { timeoutMs: ANSWER_MS })).text();
    expect((await Promise.all(ports.map(ask))).join('')).toBe('abcdef');
    for (const each of servers) each.close().closeAllConnections();
  });

  it(forwarding ? 'warns of nothing' : 'says once that it goes by curl', () => {
    expect(warnings).toEqual(forwarding ? [] : [expect.stringContaining(`${server.ref.name} refuses TCP forwarding`)]);
  });

  it('fails as HOST_UNREACHABLE when it is the host that does not answer', async () => {
    const away = drivers.host({ ...server.ref, name: 'away', port: 9 });
    await expect(away.fetch(base, { timeoutMs: ANSWER_MS })).rejects.toMatchObject({ code: 'HOST_UNREACHABLE' });
  });

  if (!forwarding) return;

  it('brings a stream as it comes', async () => {
    let end: () => void = () => {};
    release = (response) => (end = () => response.end('two'));
    const response = await fetch(`${base}/stream`, { timeoutMs: ANSWER_MS });
    const chunks: string[] = [];
    for await (const chunk of response.body!) {
      chunks.push(Buffer.from(chunk as Uint8Array).toString());
      end();
    }
    expect(chunks).toEqual(['one', 'two']);
  });

  it('goes on over a new master when the old one was killed', async () => {
    for (const pid of processesWith(join(folder, 'r'), '-M\0-N')) {
      if (textOf(`/proc/${pid}/comm`) === 'ssh\n') process.kill(pid, 'SIGKILL');
    }
    const response = await fetch(`${base}/again`, { timeoutMs: ANSWER_MS });
    expect(await response.text()).toBe('GET /again ');
  });
});

describe('HTTP straight from the Temporal worker', () => {
  it('tells a refused connection and a passed limit', async () => {
    const direct = createDrivers({ runtimeDir: join(folder, 'r') });
    const { fetch } = direct;
    expect(await (await fetch(`${base}/x`, { timeoutMs: ANSWER_MS })).text()).toBe('GET /x ');
    await expect(fetch('http://127.81.5.9:30999/', { timeoutMs: ANSWER_MS })).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
    await expect(fetch(`${base}/hang`, { timeoutMs: 200 })).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await direct.close();
  });
});
