import { gzipSync } from 'node:zlib';
import { expect, it } from '@jest/globals';
import { defaultPayloadConverter } from '@temporalio/common';
import { payloadCodec } from '../src/codec.ts';

const payload = (value: unknown) => defaultPayloadConverter.toPayload(value)!;

it('payloads over 64 KiB travel compressed and come back as they were', async () => {
  const big = payload({ hosts: Array.from({ length: 5_000 }, (_, index) => ({ name: `gpu-${index}`, up: true })) });
  const [encoded] = await payloadCodec.encode([big]);
  expect(encoded!.data!.length).toBeLessThan(big.data!.length / 4);
  const [decoded] = await payloadCodec.decode([encoded!]);
  expect(Buffer.from(decoded!.data!).equals(Buffer.from(big.data!))).toBe(true);
  expect(Object.keys(decoded!.metadata!)).toEqual(Object.keys(big.metadata!));
});

it('small payloads stay readable in the Temporal UI', async () => {
  const small = payload({ name: 'gpu-0' });
  expect(await payloadCodec.encode([small])).toEqual([small]);
  expect(await payloadCodec.decode([small])).toEqual([small]);
});

const packed = (data: Uint8Array) => ({ metadata: { encoding: Buffer.from('binary/gzip') }, data });

it('what unpacks to 16 MiB is taken, and a byte more is refused, told by its sizes', async () => {
  const limit = 16 * 1024 * 1024;
  const [taken] = await payloadCodec.decode([packed(gzipSync(Buffer.alloc(limit)))]);
  expect(taken!.data!.length).toBe(limit);
  const bomb = gzipSync(Buffer.alloc(limit + 1));
  await expect(payloadCodec.decode([packed(bomb)])).rejects.toMatchObject({
    code: 'UNKNOWN',
    message: `a payload of ${bomb.length} bytes unpacks to more than ${limit} bytes, which is all that is taken`,
  });
});

it('what is marked as packed and is not is told', async () => {
  await expect(payloadCodec.decode([packed(Buffer.from('{}'))])).rejects.toMatchObject({
    code: 'UNKNOWN',
    message: 'a payload of 2 bytes is marked as gzip and is none',
  });
});
