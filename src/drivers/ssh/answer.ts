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

/** Longest mark, in bytes: a home folder has at most 4,096. What is longer was not printed by the runner. */
const MARK_LIMIT_BYTES = 8_192;
const LINE_END = 0x0a;

/**
 * Reads one stream as it comes. Each byte is looked at once, however the stream is cut into chunks: of text that is no
 * mark, only as much is kept back as could be the beginning of a nonce, and of a mark, what came of it.
 */
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
  /** The end of the text so far, shorter than the nonce. */
  #rest: Buffer = Buffer.alloc(0);
  /** What came of a mark behind its nonce; undefined while text comes. */
  #mark: { readonly chunks: Buffer[]; size: number } | undefined;
  #current: Part | undefined;

  constructor(nonce: string, commands: number, limitBytes: number) {
    this.#nonce = Buffer.from(nonce);
    this.#limitBytes = limitBytes;
    this.parts = Array.from({ length: commands }, () => ({ chunks: [], size: 0, cut: false }));
  }

  push(chunk: Buffer): void {
    for (let left: Buffer | undefined = chunk; left !== undefined;) {
      left = this.#mark ? this.#readMark(this.#mark, left) : this.#readText(left);
    }
  }

  /** The text that is not the runner's, with what still waited for the end of a mark. */
  otherText(): string {
    const waiting = this.#mark ? [this.#nonce, ...this.#mark.chunks] : [this.#rest];
    return this.other + (this.#current ? '' : Buffer.concat(waiting).toString());
  }

  /** Takes text up to the next nonce. Returns what is behind it; undefined when all is read. */
  #readText(data: Buffer): Buffer | undefined {
    const text = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    const at = text.indexOf(this.#nonce);
    if (at < 0) {
      const kept = Math.max(0, text.length - this.#nonce.length + 1);
      this.#take(text.subarray(0, kept));
      this.#rest = text.subarray(kept);
      return undefined;
    }
    this.#take(text.subarray(0, at));
    this.#rest = Buffer.alloc(0);
    this.#mark = { chunks: [], size: 0 };
    return text.subarray(at + this.#nonce.length);
  }

  /** Takes a mark up to the end of its line. Returns what is behind it; undefined when all is read. */
  #readMark(mark: { readonly chunks: Buffer[]; size: number }, data: Buffer): Buffer | undefined {
    const end = data.indexOf(LINE_END);
    const line = end < 0 ? data : data.subarray(0, end);
    mark.chunks.push(line);
    mark.size += line.length;
    if (mark.size > MARK_LIMIT_BYTES) {
      this.#mark = undefined;
      for (const text of [this.#nonce, ...mark.chunks]) this.#take(text);
      return end < 0 ? undefined : data.subarray(end);
    }
    if (end < 0) return undefined;
    this.#mark = undefined;
    this.#obey(Buffer.concat(mark.chunks).toString().slice(1)); // A blank is behind the nonce.
    return data.subarray(end + 1);
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

  #obey(text: string): void {
    const [kind, index, exitCode, timedOut] = text.split(' ', 4);
    if (kind !== 'H') this.begun = true;
    if (kind === 'X') this.refusal = text.slice(2);
    if (kind === 'H') this.home = text.slice(2);
    if (kind === 'S') this.#current = this.parts[Number(index)];
    if (kind === 'Z') this.closed = true;
    if (kind !== 'S') this.#current = undefined;
    if (kind === 'E') this.ends[Number(index)] = { exitCode: Number(exitCode), timedOut: timedOut === '1' };
  }
}
