import { performance } from 'node:perf_hooks';

/** Thrown out of every wait of an engine that has ended; nobody needs to report it. */
export class EngineEnded extends Error {
  override readonly name = 'EngineEnded';
}

/** The time of one engine: it stands still between SIGSTOP and SIGCONT, and every wait ends with the engine. */
export class Clock {
  readonly #secondMs: number;
  readonly #pending = new Set<(error: Error) => void>();
  #resume: (() => void) | undefined;
  #stopped: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(secondMs: number) {
    this.#secondMs = secondMs;
  }

  /** Waits in milliseconds; returns those that passed. Rejects with the signal's reason on abort, with EngineEnded at the end. */
  async sleep(ms: number, signal?: AbortSignal): Promise<number> {
    const from = performance.now();
    await this.#until((done) => {
      const timer = setTimeout(done, ms);
      return () => clearTimeout(timer);
    }, signal);
    const passed = performance.now() - from;
    await this.running();
    return passed;
  }

  /** Waits in seconds of the engine's own patience. */
  async patience(seconds: number, signal?: AbortSignal): Promise<void> {
    await this.sleep(seconds * this.#secondMs, signal);
  }

  /** As `promise`, but rejects on abort and at the end of the engine. */
  async race<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
    // Only that it is settled is waited for here; a rejection comes out of the return below.
    const settled = promise.catch(() => undefined);
    await this.#until((done) => {
      void (async () => {
        await settled;
        done();
      })();
      return () => undefined;
    }, signal);
    await this.running();
    return promise;
  }

  /** Resolves at once unless the engine is stopped by SIGSTOP. */
  async running(): Promise<void> {
    await this.#stopped;
    if (this.#ended) throw new EngineEnded();
  }

  stop(): void {
    if (this.#resume !== undefined || this.#ended) return;
    this.#stopped = new Promise((resolve) => (this.#resume = resolve));
  }

  resume(): void {
    this.#resume?.();
    this.#resume = undefined;
  }

  end(): void {
    this.#ended = true;
    this.resume();
    for (const fail of this.#pending) fail(new EngineEnded());
    this.#pending.clear();
  }

  #until(start: (done: () => void) => () => void, signal?: AbortSignal) {
    return new Promise<void>((resolve, reject) => {
      if (this.#ended) return reject(new EngineEnded());
      if (signal?.aborted) return reject(signal.reason);
      const settle = (act: () => void) => {
        cancel();
        this.#pending.delete(fail);
        signal?.removeEventListener('abort', onAbort);
        act();
      };
      const fail = (error: unknown) => settle(() => reject(error));
      const onAbort = () => fail(signal?.reason);
      this.#pending.add(fail);
      signal?.addEventListener('abort', onAbort);
      const cancel = start(() => settle(resolve));
    });
  }
}
