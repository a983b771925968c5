import type { Role } from '../../plan/types.ts';
import { EngineEnded, type Clock } from './clock.ts';
import { fetchKv, lookUp, type Delivery, type Half, type KvAddress, type KvServer } from './kv.ts';
import type { Timing } from './types.ts';

/** Where a request stands. In /v1/loads each stage is a count: the first three of a prefill engine, the next three of a decode engine. */
export type Stage = 'bootstrap' | 'waiting' | 'inflight' | 'prealloc' | 'transfer' | 'running';

export interface Job {
  readonly rid: string;
  readonly promptTokens: number;
  /** Tokens to generate; a prefill engine stops after one. */
  readonly maxTokens: number;
  readonly bootstrap: (KvAddress & { readonly room: number }) | undefined;
  readonly streaming: boolean;
  stage: Stage;
  tokens: number;
  /** Ends the job: with an Aborted for those who asked, with a JobFailed for the rest. */
  readonly abort: AbortController;
}

/** The job ended because somebody asked for it: the client left, /abort_request, /pause_generation. */
export class Aborted extends Error {
  override readonly name = 'Aborted';
}

/** The engine could not do the job; the message is the one clients see. */
export class JobFailed extends Error {
  override readonly name = 'JobFailed';
}

export interface SchedulerEvents {
  /** A batch ran: only now does a real engine rewrite its gauges. */
  batch(): void;
  crossed(job: Job, ours: string, theirs: string): void;
  log(line: string): void;
  bootstrapFailed(): void;
  transferFailed(): void;
  /** The stages that /metrics times, in milliseconds. */
  stage(name: string, ms: number): void;
}

/** SGLang's fake bootstrap: a request with this host needs no other half. */
export const FAKE_BOOTSTRAP_HOST = '2.2.2.2';
/** A decode engine asks a dead bootstrap port so often, one second apart. */
const HANDSHAKE_TRIES = 15;
const HOLDS_KV: ReadonlySet<Stage> = new Set(['running', 'inflight', 'transfer']);
/** Tokens of several milliseconds are given out together, so that 64 engines do not drown in timers. */
const TICK_MS = 4;

/** The queueing model: prompts are prefilled one after the other, decoding runs side by side up to a limit. */
export class Scheduler {
  readonly jobs = new Set<Job>();
  readonly #clock: Clock;
  readonly #timing: Timing;
  readonly #events: SchedulerEvents;
  readonly #generation: string;
  readonly #timeouts: { bootstrapSeconds: number; waitingSeconds: number };
  readonly #stuck: boolean;
  readonly #prefilling = new Slots(1);
  readonly #decoding: Slots;
  #continue: (() => void) | undefined;
  #paused: Promise<void> = Promise.resolve();

  constructor(options: {
    clock: Clock;
    timing: Timing;
    events: SchedulerEvents;
    generation: string;
    timeouts: { bootstrapSeconds: number; waitingSeconds: number };
    maxRunning: number;
    transferStuck: boolean;
  }) {
    this.#clock = options.clock;
    this.#timing = options.timing;
    this.#events = options.events;
    this.#generation = options.generation;
    this.#timeouts = options.timeouts;
    this.#stuck = options.transferStuck;
    this.#decoding = new Slots(options.maxRunning);
  }

  /** Jobs in a stage now. */
  count(...stages: Stage[]): number {
    let count = 0;
    for (const job of this.jobs) if (stages.includes(job.stage)) count += 1;
    return count;
  }

  /** Tokens in the KV cache now. */
  get usedTokens(): number {
    let tokens = 0;
    for (const job of this.jobs) if (HOLDS_KV.has(job.stage)) tokens += job.promptTokens + job.tokens;
    return tokens;
  }

  /** Prompt tokens that no batch has seen yet. */
  get waitingTokens(): number {
    let tokens = 0;
    for (const job of this.jobs) if (!HOLDS_KV.has(job.stage)) tokens += job.promptTokens;
    return tokens;
  }

  /** Tokens per second that the running requests get. */
  get throughput(): number {
    return (this.count('running') * 1000) / Math.max(this.#timing.decodeMsPerToken, 0.001);
  }

  get paused(): boolean {
    return this.#continue !== undefined;
  }

  /** Jobs stand still where they are. */
  pause(): void {
    if (!this.paused) this.#paused = new Promise((resolve) => (this.#continue = resolve));
  }

  /** Resolves at once unless paused. */
  unpaused(): Promise<void> {
    return this.#paused;
  }

  continue(): void {
    this.#continue?.();
    this.#continue = undefined;
  }

  /** Runs one job; yields whenever tokens were made (job.tokens). Throws Aborted or JobFailed. */
  async *run(job: Job, role: Role | 'null', kv: KvServer | undefined): AsyncGenerator<void> {
    this.jobs.add(job);
    try {
      await this.#unpaused(job);
      if (role === 'prefill') yield* this.#prefill(job, kv);
      else {
        if (role === 'null') await this.#forward(job);
        else if (job.bootstrap !== undefined && !isFake(job)) await this.#receive(job, job.bootstrap);
        else this.#events.stage('fake_output', 0);
        yield* this.#decode(job);
      }
    } finally {
      this.jobs.delete(job);
      if (this.jobs.size === 0) this.#events.batch();
    }
  }

  async *#prefill(job: Job, kv: KvServer | undefined): AsyncGenerator<void> {
    if (job.bootstrap === undefined || kv === undefined || isFake(job)) {
      await this.#forward(job);
      job.tokens = 1;
      yield;
      return;
    }
    const { room } = job.bootstrap;
    job.stage = 'bootstrap';
    const half = await this.#timed('prefill_bootstrap', () =>
      this.#within(
        job,
        this.#timeouts.bootstrapSeconds,
        (signal) => kv.meet(room, signal),
        (seconds) => {
          this.#events.bootstrapFailed();
          return new JobFailed(
            `Prefill bootstrap failed for request rank=0 req.rid='${job.rid}' req.bootstrap_room=${room} with exception KVTransferError(bootstrap_room=${room}): Request ${room} timed out after ${seconds.toFixed(1)}s in KVPoll.Bootstrapping`,
          );
        },
      ),
    );
    const onGone = () => job.abort.abort(this.#transferFailure('Prefill', job, 'the decode half is gone'));
    try {
      if (half.gone.aborted) onGone();
      half.gone.addEventListener('abort', onGone);
      if (half.generation !== this.#generation) throw this.#cross(job, half);
      await this.#timed('prefill_forward', () => this.#forward(job));
      job.stage = 'inflight';
      await this.#timed('prefill_transfer_kv_cache', () => this.#transfer(job));
      job.tokens = 1;
      half.gone.removeEventListener('abort', onGone);
      half.deliver();
    } catch (error) {
      half.gone.removeEventListener('abort', onGone);
      if (!half.gone.aborted) half.refuse(error instanceof Crossed ? 409 : 500, (error as Error).message);
      throw error;
    }
    yield;
  }

  #cross(job: Job, half: Half): Crossed {
    this.#events.crossed(job, this.#generation, half.generation);
    return new Crossed(crossedText(job, this.#generation, half.generation));
  }

  /** The decode half up to the point where its KV cache is there. */
  async #receive(job: Job, at: KvAddress & { readonly room: number }): Promise<void> {
    job.stage = 'prealloc';
    const kv = await this.#timed('decode_bootstrap', () => this.#handshake(job, at));
    job.stage = 'transfer';
    const delivery = await this.#timed('decode_transferred', () =>
      this.#within(
        job,
        this.#timeouts.waitingSeconds,
        (signal) => this.#delivery(job, { ...kv, room: at.room }, at, signal),
        (seconds) =>
          this.#transferFailure(
            'Decode',
            job,
            `Request ${at.room} timed out after ${seconds.toFixed(1)}s in KVPoll.WaitingForInput`,
          ),
      ),
    );
    if (delivery.status === 409) {
      this.#events.crossed(job, this.#generation, delivery.generation);
      throw new JobFailed(crossedText(job, this.#generation, delivery.generation));
    }
    if (delivery.status !== 200) {
      throw this.#transferFailure('Decode', job, delivery.message ?? 'the prefill half failed');
    }
  }

  async #handshake(job: Job, at: KvAddress): Promise<KvAddress> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#clock.race(lookUp(at, job.abort.signal), job.abort.signal);
      } catch (error) {
        if (job.abort.signal.aborted || error instanceof EngineEnded) throw error;
        if (attempt === HANDSHAKE_TRIES) {
          this.#events.bootstrapFailed();
          throw new JobFailed(
            `Decode handshake failed for request rank=0 decode_req.req.rid='${job.rid}' decode_req.req.bootstrap_room=${job.bootstrap?.room} with exception KVTransferError: Aborted by AbortReq`,
            { cause: error },
          );
        }
        await this.#clock.patience(1, job.abort.signal);
      }
    }
  }

  /** The answer of the KV port. A port that refuses belongs to an engine that took over the registry and is gone: then there is nothing to wait for but the time-out. */
  async #delivery(
    job: Job,
    kv: KvAddress & { readonly room: number },
    bootstrap: KvAddress,
    signal: AbortSignal,
  ): Promise<Delivery> {
    if (this.#stuck) await this.#clock.race(new Promise<never>(() => undefined), signal);
    try {
      return await this.#clock.race(fetchKv({ ...kv, generation: this.#generation }, signal), signal);
    } catch (error) {
      if (signal.aborted || error instanceof EngineEnded) throw error;
      if ((error as NodeJS.ErrnoException).code === 'ECONNREFUSED') {
        return await this.#clock.race(new Promise<never>(() => undefined), signal);
      }
      const where = `${bootstrap.host}:${bootstrap.port}`;
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        this.#events.log(`Attempting to reconnect to ${where}...`);
        await this.#clock.patience(4, signal);
      }
      this.#events.log(`Lost connection with prefill instance (bootstrap_addr: ${where}), 1 requests affected`);
      throw this.#transferFailure('Decode', job, 'Lost connection with prefill instance');
    }
  }

  async *#decode(job: Job): AsyncGenerator<void> {
    job.stage = 'waiting';
    await this.#timed('decode_waiting', () => this.#decoding.take(job.abort.signal, this.#clock));
    try {
      job.stage = 'running';
      // The first token came with the KV cache.
      let tokens = 1;
      for (;;) {
        job.tokens = Math.min(Math.floor(tokens), job.maxTokens);
        this.#events.batch();
        yield;
        if (job.tokens >= job.maxTokens) return;
        const passedMs = await this.#clock.sleep(Math.max(TICK_MS, this.#timing.decodeMsPerToken), job.abort.signal);
        await this.#unpaused(job);
        tokens += passedMs / Math.max(this.#timing.decodeMsPerToken, 0.001);
      }
    } finally {
      this.#decoding.release();
    }
  }

  async #forward(job: Job): Promise<void> {
    job.stage = 'waiting';
    await this.#prefilling.take(job.abort.signal, this.#clock);
    try {
      job.stage = 'running';
      this.#events.batch();
      await this.#clock.sleep(job.promptTokens * this.#timing.prefillMsPerToken, job.abort.signal);
      await this.#unpaused(job);
    } finally {
      this.#prefilling.release();
    }
  }

  async #transfer(job: Job): Promise<void> {
    if (this.#stuck) await this.#clock.race(new Promise<never>(() => undefined), job.abort.signal);
    await this.#clock.sleep(this.#timing.transferMs, job.abort.signal);
  }

  async #unpaused(job: Job): Promise<void> {
    await this.#clock.race(this.#paused, job.abort.signal);
  }

  /** Does `act` within so many seconds of patience; its signal aborts then, or with the job. */
  async #within<T>(
    job: Job,
    seconds: number,
    act: (signal: AbortSignal) => Promise<T>,
    failure: (seconds: number) => JobFailed,
  ): Promise<T> {
    const limit = new AbortController();
    const onAbort = () => limit.abort(job.abort.signal.reason);
    const done = new AbortController();
    if (job.abort.signal.aborted) onAbort();
    job.abort.signal.addEventListener('abort', onAbort);
    this.#clock.patience(seconds, done.signal).then(
      () => limit.abort(failure(seconds)),
      () => undefined,
    );
    try {
      return await act(limit.signal);
    } catch (error) {
      // An aborted connection rejects with its own AbortError; the reason says more.
      throw limit.signal.aborted ? limit.signal.reason : error;
    } finally {
      done.abort();
      job.abort.signal.removeEventListener('abort', onAbort);
    }
  }

  #transferFailure(side: 'Prefill' | 'Decode', job: Job, why: string): JobFailed {
    this.#events.transferFailed();
    const room = job.bootstrap?.room;
    return new JobFailed(
      `${side} transfer failed for request rank=0 req.rid='${job.rid}' req.bootstrap_room=${room} with exception KVTransferError(bootstrap_room=${room}): ${why}`,
    );
  }

  async #timed<T>(stage: string, act: () => Promise<T>): Promise<T> {
    const from = performance.now();
    const result = await act();
    this.#events.stage(stage, performance.now() - from);
    return result;
  }
}

class Crossed extends JobFailed {}

const isFake = (job: Job) => job.bootstrap?.host === FAKE_BOOTSTRAP_HOST;

const crossedText = (job: Job, ours: string, theirs: string) =>
  `KV cache of room ${job.bootstrap?.room} cannot be used: this engine is of KV generation ${ours.slice(0, 12)}, its other half of ${theirs.slice(0, 12)}`;

/** A counted lock whose waiters come in order and leave when their signal aborts. */
class Slots {
  #free: number;
  readonly #queue = new Set<() => void>();

  constructor(count: number) {
    this.#free = count;
  }

  async take(signal: AbortSignal, clock: Clock): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    let turn = () => {};
    const mine = new Promise<void>((resolve) => (turn = resolve));
    this.#queue.add(turn);
    try {
      await clock.race(mine, signal);
    } catch (error) {
      // The turn may have come in the same moment; then it goes on to the next.
      if (!this.#queue.delete(turn)) this.release();
      throw error;
    }
  }

  release(): void {
    const [next] = this.#queue;
    if (next === undefined) this.#free += 1;
    else {
      this.#queue.delete(next);
      next();
    }
  }
}
