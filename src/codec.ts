import { gunzipSync, gzipSync } from 'node:zlib';
import type { Payload, PayloadCodec } from '@temporalio/common';
import { DeployError } from './errors.ts';

/** Payloads above this size travel compressed, in bytes. */
const COMPRESS_ABOVE = 64 * 1024;
/** What a payload may unpack to, in bytes; the plan of 1,000 hosts has 6.5 MB. A few KiB of zeros could fill the memory otherwise. */
const UNPACKED_LIMIT = 16 * 1024 * 1024;
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
  return { metadata: { ...metadata, ...(original ? { encoding: original } : {}) }, data: unpack(payload.data) };
}

/** Errors: UNKNOWN, for what no worker or client of Tandem has packed. */
function unpack(data: Uint8Array): Uint8Array {
  try {
    return gunzipSync(data, { maxOutputLength: UNPACKED_LIMIT });
  } catch (cause) {
    const tooBig = (cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    throw new DeployError({
      code: 'UNKNOWN',
      message: `a payload of ${data.length} bytes ${tooBig ? `unpacks to more than ${UNPACKED_LIMIT} bytes, which is all that is taken` : 'is marked as gzip and is none'}`,
      remedy: 'Tandem did not write it: see in the Temporal UI who started or signalled this workflow.',
      retryable: false,
      cause,
    });
  }
}
