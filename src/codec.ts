import { gunzipSync, gzipSync } from 'node:zlib';
import type { Payload, PayloadCodec } from '@temporalio/common';

/** Payloads above this size travel compressed, in bytes. */
const COMPRESS_ABOVE = 64 * 1024;
const GZIP = Buffer.from('binary/gzip');

/** Compresses big payloads; shared by Temporal workers and clients, so that no other code knows of it. */
export const payloadCodec: PayloadCodec = {
  async encode(payloads) {
    return payloads.map(compress);
  },
  async decode(payloads) {
    return payloads.map(decompress);
  },
};

function compress(payload: Payload): Payload {
  if (!payload.data || payload.data.length <= COMPRESS_ABOVE) return payload;
  const { encoding, ...metadata } = payload.metadata ?? {};
  return {
    metadata: { ...metadata, encoding: GZIP, ...(encoding ? { 'tandem-encoding': encoding } : {}) },
    data: gzipSync(payload.data),
  };
}

function decompress(payload: Payload): Payload {
  const { encoding, 'tandem-encoding': original, ...metadata } = payload.metadata ?? {};
  if (!payload.data || !encoding || !GZIP.equals(encoding)) return payload;
  return { metadata: { ...metadata, ...(original ? { encoding: original } : {}) }, data: gunzipSync(payload.data) };
}
