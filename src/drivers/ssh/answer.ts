import type { Output } from '../types.ts';
import { raw } from '../../text/raw.ts';

/** What one stream of a frame has shown so far. */
interface Part {
  readonly chunks: Buffer[];
  size: number;
  /** More came than is kept. */
  cut: boolean;
}

/**
 * Reads what the runner prints: the commands' output, told from the text of login files before it and of ssh after it
 * by the nonce of the frame. Keeps the first `limitBytes` of each stream of each command.
 */
export class Answer {
  readonly stdout: Stream;
  readonly stderr: Stream;

  constructor(nonce: string, commands: number, limitBytes: number) {
    this.stdout = new Stream(nonce, commands, limitBytes);
    this.stderr = new Stream(nonce, commands, limitBytes);
  }

  /** The runner has begun: from here on something may have happened on the host. */
  get begun(): boolean {
    return this.stdout.begun || this.stderr.begun;
  }

  /** Every command has ended and all its output is here. */
  get complete(): boolean {
    return this.stdout.closed && this.stderr.closed;
  }

  /** Why the runner started nothing, when it says so. */
  get refusal(): string | undefined {
    return this.stdout.refusal;
  }

  /** The home of the user whom the frame ran as. */
  get home(): string {
    return this.stdout.home;
  }

  /** What the commands said and how they ended; of one that was not run because the client went away, nothing. */
  outputs(): Output[] {
    return this.stdout.parts.map((part, index) => {
      const { exitCode, timedOut } = this.stdout.ends[index] ?? { exitCode: 143, timedOut: false };
      const error = this.stderr.parts[index]!;
      const begun = this.stdout.ends[index] !== undefined;
      const truncated = part.cut || error.cut || (begun && !this.stderr.ends[index]);
      return {
        stdout: raw(Buffer.concat(part.chunks).toString()),
        stderr: raw(Buffer.concat(error.chunks).toString()),
        exitCode,
        timedOut,
        ...(truncated ? { truncated } : {}),
      };
    });
  }
}

class Stream {
  readonly parts: readonly Part[];
  readonly ends: { exitCode: number; timedOut: boolean }[] = [];
  begun = false;
  closed = false;
  refusal: string | undefined;
  home = '';
  /** The start of text that is not the runner's: of login files before, of ssh after. */
  other = '';
  readonly #nonce: Buffer;
  readonly #limitBytes: number;
  #rest: Buffer = Buffer.alloc(0);
  #current: Part | undefined;

  constructor(nonce: string, commands: number, limitBytes: number) {
    this.#nonce = Buffer.from(nonce);
    this.#limitBytes = limitBytes;
    this.parts = Array.from({ length: commands }, () => ({ chunks: [], size: 0, cut: false }));
  }

  push(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const at = this.#rest.indexOf(this.#nonce);
      const end = at < 0 ? -1 : this.#rest.indexOf('\n', at);
      if (end < 0) {
        // A mark may have begun at the end: keep as much as could belong to it.
        const text = at < 0 ? Math.max(0, this.#rest.length - this.#nonce.length + 1) : at;
        this.#take(this.#rest.subarray(0, text));
        this.#rest = this.#rest.subarray(text);
        return;
      }
      this.#take(this.#rest.subarray(0, at));
      this.#mark(this.#rest.subarray(at + this.#nonce.length + 1, end).toString());
      this.#rest = this.#rest.subarray(end + 1);
    }
  }

  /** The text that is not the runner's, with what still waited for the end of a mark. */
  otherText(): string {
    return this.other + (this.#current ? '' : this.#rest.toString());
  }

  #take(data: Buffer): void {
    const part = this.#current;
    if (!part) {
      if (this.other.length < 8_192) this.other += data.toString();
      return;
    }
    const room = this.#limitBytes - part.size;
    if (room > 0) part.chunks.push(data.subarray(0, room));
    if (room < data.length) part.cut = true;
    part.size += data.length;
  }

  #mark(text: string): void {
    const [kind, index, exitCode, timedOut] = text.split(' ');
    if (kind !== 'H') this.begun = true;
    if (kind === 'X') this.refusal = text.slice(2);
    if (kind === 'H') this.home = text.slice(2);
    if (kind === 'S') this.#current = this.parts[Number(index)];
    if (kind === 'Z') this.closed = true;
    if (kind !== 'S') this.#current = undefined;
    if (kind === 'E') this.ends[Number(index)] = { exitCode: Number(exitCode), timedOut: timedOut === '1' };
  }
}
