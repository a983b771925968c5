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
