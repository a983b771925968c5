import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { CERTIFICATES } from '../support/certificates.ts';
import { CLI, runCli } from '../support/cli.ts';
import { ANSWER_MS } from '../support/patience.ts';

/**
 * A server of Temporal's protocol that refuses this client, as a real one with an authorizer does: whoever has no valid key
 * or certificate is UNAUTHENTICATED, whoever has no right PERMISSION_DENIED, some of them only once they have said hello.
 */
const UNAUTHENTICATED = { status: '16', message: 'invalid API key' };
const PERMISSION_DENIED = { status: '7', message: 'Request unauthorized.' };

const refusals = [
  { name: 'a key that is not valid', ...UNAUTHENTICATED, hello: false },
  { name: 'a client without the right', ...PERMISSION_DENIED, hello: false },
  { name: 'a client without the right, which may say hello', ...PERMISSION_DENIED, hello: true },
];

const servers: Http2Server[] = [];
const sessions = new Set<ServerHttp2Session>();
const addresses = new Map<string, string>();
const keys = new Set<string | undefined>();
beforeAll(async () => {
  for (const { name, status, message, hello } of refusals) {
    const answer = (stream: ServerHttp2Stream, path: string) => {
      const welcome = hello && path.endsWith('/GetSystemInfo');
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () =>
        stream.sendTrailers(welcome ? { 'grpc-status': '0' } : { 'grpc-status': status, 'grpc-message': message }),
      );
      stream.end(welcome ? Buffer.alloc(5) : undefined); // A message without fields.
    };
    const server = createServer().on('stream', (stream, headers) => {
      keys.add(headers.authorization);
      answer(stream, String(headers[':path']));
    });
    server.on('session', (session) => sessions.add(session));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    servers.push(server);
    addresses.set(name, `127.0.0.1:${(server.address() as AddressInfo).port}`);
  }
});
afterAll(async () => {
  for (const session of sessions) session.destroy();
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
});

const KEY = 'tandem-test-key-1234567890';

describe('a Temporal server that refuses this client:', () => {
  it.each(refusals)('$name is told so by verbs, with exit code 4', async ({ name, message }) => {
    const address = addresses.get(name)!;
    // With a key the client would speak TLS, unless it is told not to.
    const env = { TEMPORAL_API_KEY: KEY, TEMPORAL_TLS: 'false' };
    for (const verb of [['status', 'known'], ['list'], ['cancel', 'known']]) {
      const { exitCode, stdout, stderr } = await runCli(verb, { address, timeoutMs: ANSWER_MS, env });
      expect({ exitCode, stderr }).toEqual({ exitCode: 4, stderr: '' });
      expect(JSON.parse(stdout)).toEqual({
        error: {
          code: 'TEMPORAL_REFUSED',
          message: expect.stringMatching(`refuses this client in namespace default: .*${message}$`),
          remedy: expect.stringContaining('TEMPORAL_API_KEY'),
        },
      });
      expect(stdout).not.toContain(KEY);
    }
    expect(keys).toContain(`Bearer ${KEY}`);
  });

  it.each(refusals)(
    '$name is told so by a Temporal worker that starts, with exit code 4',
    async ({ name, message }) => {
      const env = { TEMPORAL_ADDRESS: addresses.get(name)!, TEMPORAL_API_KEY: KEY, TEMPORAL_TLS: 'false' };
      const { exitCode, stderr } = await execa(process.execPath, [CLI, 'worker'], {
        env,
        reject: false,
        timeout: ANSWER_MS,
      });
      expect(stderr).toMatch(/^TEMPORAL_REFUSED: [^\n]*\n {2}remedy: [^\n]*TEMPORAL_API_KEY[^\n]*\n?$/);
      expect(stderr).toContain(message);
      expect(exitCode).toBe(4);
    },
  );
});

describe('a Temporal server that wants a certificate', () => {
  let folder: string;
  let server: Http2Server;
  let address: string;
  const file = (name: string) => join(folder, name);
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tandem-refused-'));
    const { server: its, stranger } = CERTIFICATES;
    await writeFile(file('ca.pem'), its.certificate);
    await writeFile(file('cert.pem'), stranger.certificate);
    await writeFile(file('key.pem'), stranger.key);
    const identity = { key: its.key, cert: its.certificate, ca: its.certificate };
    server = createSecureServer({ ...identity, requestCert: true, rejectUnauthorized: true });
    server.on('session', (session) => sessions.add(session)).on('sessionError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    address = `localhost:${(server.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    for (const session of sessions) session.destroy();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });
  const clients: Readonly<Record<string, () => Readonly<Record<string, string>>>> = {
    'does not know whose the server’s is': () => ({ TEMPORAL_TLS: 'true' }),
    'has none': () => ({ TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('ca.pem') }),
    'has one of somebody else': () => ({
      TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('ca.pem'),
      TEMPORAL_TLS_CLIENT_CERT_PATH: file('cert.pem'),
      TEMPORAL_TLS_CLIENT_KEY_PATH: file('key.pem'),
    }),
  };

  it.each(Object.keys(clients))(
    'a client that %s is told which settings to mend, a Temporal worker too',
    async (which) => {
      const mends = /TEMPORAL_TLS_CLIENT_CERT_PATH/;
      const env = clients[which]!();
      const { exitCode, stdout } = await runCli(['list'], { address, timeoutMs: ANSWER_MS, env });
      const unreachable = { code: 'TEMPORAL_UNREACHABLE', remedy: expect.stringMatching(mends) as unknown };
      expect([exitCode, JSON.parse(stdout)]).toMatchObject([4, { error: unreachable }]);
      const of = { env: { TEMPORAL_ADDRESS: address, ...env }, reject: false, timeout: ANSWER_MS } as const;
      const worker = await execa(process.execPath, [CLI, 'worker'], of);
      expect(worker.stderr).toMatch(/^TEMPORAL_UNREACHABLE: /m);
      expect(worker.stderr).toMatch(mends);
      expect(worker.exitCode).toBe(4);
    },
  );
});
