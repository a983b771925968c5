import { connect } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { ServerChannel } from 'ssh2';

/** Connects a channel that a client asked for with a TCP port, and refuses it when nothing listens there, as sshd does. */
export function forwardTo(
  target: { readonly host: string; readonly port: number },
  accept: () => ServerChannel,
  reject: () => void,
): void {
  const socket = connect({ ...target, allowHalfOpen: true });
  socket.once('error', reject);
  socket.once('connect', () => {
    socket.off('error', reject);
    const channel = accept();
    channel.on('error', () => socket.destroy());
    socket.on('error', () => channel.end());
    channel.on('close', () => socket.destroy());
    socket.pipe(channel).pipe(socket);
  });
}

/** Where an ssh2 channel keeps what waits. */
const NOTHING_WAITS = { _chunk: undefined, _chunkcb: undefined, _chunkErr: undefined, _chunkcbErr: undefined };

/**
 * Sends a command's output through its channel, both streams in the order they came; `sent` resolves once all that was
 * read is on its way. One chunk at a time: ssh2 forgets stderr that waits for the client's window while stdout waits. And it
 * never forgets a chunk that waited: with the next one of the other stream that waits it would send it again.
 */
export function relayOutput(
  { stdout, stderr }: { readonly stdout: Readable; readonly stderr: Readable },
  channel: ServerChannel,
): { sent(): Promise<void> } {
  let sent: Promise<void> = Promise.resolve();
  const relay = (source: Readable, target: Writable) =>
    source.on('data', (chunk: Buffer) => {
      source.pause();
      sent = sent.then(async () => {
        await new Promise<void>((resolve) => target.write(chunk, () => resolve()));
        Object.assign(channel, NOTHING_WAITS);
      });
      void sent.then(() => source.resume());
    });
  relay(stdout, channel);
  relay(stderr, channel.stderr);
  return { sent: () => sent };
}
