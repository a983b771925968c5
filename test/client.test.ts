import { once } from 'node:events';
import { constants, createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connectClient, type TandemClient } from '../src/client.ts';

/** A server of Temporal's protocol that lets everybody in, and then ends each call before its time limit as a busy one does. */
const answer = (stream: ServerHttp2Stream, path: string) => {
  if (!path.endsWith('/GetSystemInfo')) return stream.close(constants.NGHTTP2_CANCEL);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  return stream.end(Buffer.alloc(5)); // A message without fields.
};

let server: Http2Server;
let client: TandemClient;
beforeAll(async () => {
  server = createServer().on('stream', (stream, headers) => void answer(stream, String(headers[':path'])));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const settings = { connectionOptions: { address }, namespace: 'default', origin: address };
  client = await connectClient(settings, 'tester', { requestValidMs: 100 });
});
afterAll(async () => {
  await client.close();
  server.close();
});

describe('a call that the server cancels, as it does where it sees the end of the time limit first', () => {
  it('is one that no Temporal worker answered', async () => {
    await expect(client.record('demo')).rejects.toMatchObject({ code: 'NO_WORKER' });
    await expect(client.cancel('demo', { actor: 'tester' })).rejects.toMatchObject({ code: 'NO_WORKER' });
  });

  it('says so of an operation’s progress too', async () => {
    await expect(client.progress('deploy/demo/1')).rejects.toMatchObject({ code: 'NO_WORKER' });
  });
});
