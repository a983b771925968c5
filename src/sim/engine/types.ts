import type { Role } from '../../plan/types.ts';

/** What a simulated SGLang engine is started with, and what its starter holds of it. `startEngine` is in engine.ts. */
export interface EngineOptions {
  /** What stands after `python3 -m sglang.launch_server`. */
  readonly argv: readonly string[];
  /** Environment of the engine; of it the engine reads SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT and …_WAITING_TIMEOUT (seconds, default 300). */
  readonly env?: Readonly<Record<string, string>>;
  /** Version of SGLang that it is: it decides which flags exist and how the engine speaks. Default 0.5.23. */
  readonly version?: string;
  /** Image it runs in. Part of its KV generation where given, so leave it out where the roles of one spec use different images. */
  readonly image?: string;
  /** Where a path of argv lies on this machine: the mounts of a container, the home of a simulated host. Default: the path itself. */
  resolvePath?(path: string): string;
  /** Address to bind instead of 0.0.0.0 and ::, so that simulated hosts do not take each other's ports. */
  readonly hostAddress?: string;
  readonly timing?: Partial<Timing>;
  readonly faults?: EngineFaults;
  /** Gets every line of stdout and stderr, in order, without a line end. */
  log(line: string): void;
}

export interface Timing {
  /** From the start until the HTTP port opens, in seconds; the log marks before it keep their real proportions. Default 0.3. */
  readonly startSeconds: number;
  /** From the HTTP port's opening until /health is 200, in seconds. Default 0.1; real engines take 1 to 2. */
  readonly warmupSeconds: number;
  /** Prefill time per prompt token, in milliseconds; prompts wait for each other. Default 0.05. */
  readonly prefillMsPerToken: number;
  /** Decode time per token, in milliseconds; running requests do not slow each other. Default 2. */
  readonly decodeMsPerToken: number;
  /** Time to move one request's KV cache, in milliseconds. Default 1. */
  readonly transferMs: number;
  /** Length of one second of the engine's own patience (time-outs, retries, looks while draining), in milliseconds. Default 1000. The second that /health takes is always real. */
  readonly secondMs: number;
}

/** What goes wrong with this engine; plain data, so scenario files can hold it. */
export interface EngineFaults {
  /** Killed while it loads, as by the OOM killer: exit 137. */
  readonly killedWhileLoading?: boolean;
  /** The weights leave no memory for the KV cache: exit 137 with the reason in the log. */
  readonly outOfMemory?: boolean;
  /** The HTTP port never opens. */
  readonly neverListens?: boolean;
  /** The HTTP port opens, and it is never healthy. */
  readonly neverReady?: boolean;
  /** It says this role in /model_info and /v1/loads, whatever its flags say. */
  readonly saysRole?: Role;
  /** Ends by itself so many seconds of its patience (timing.secondMs) after it became ready. */
  readonly exitsAfterReady?: { readonly seconds: number; readonly exitCode: number };
  /** Answers nothing any more so many seconds of its patience after it became ready; connections are still taken. */
  readonly hangsAfterReady?: { readonly seconds: number };
  /** KV caches never leave or never reach this engine: healthy, and every real request hangs until the time-out. */
  readonly transferStuck?: boolean;
}

export type EngineSignal = 'SIGTERM' | 'SIGKILL' | 'SIGSTOP' | 'SIGCONT';

/** A simulated engine that was started. It owns no process: ports, requests and timers end with `exited`. */
export interface RunningEngine {
  /** Acts as the signal does on a real engine; after `exited` it does nothing. */
  signal(name: EngineSignal): void;
  /** The exit code: 0 after a drain (137 below 0.5.19), 1 and 2 for errors before the load, 137 for kills. Never rejects. */
  readonly exited: Promise<number>;
  /** Resolves once it generates; never, when the engine ends before. Ranks above 0 are ready when rank 0 took them. */
  readonly ready: Promise<void>;
  counts(): EngineCounts;
}

/** Requests of clients since the start; warm-up and health are left out. */
export interface EngineCounts {
  readonly received: number;
  readonly answered: number;
  /** Ended with an error other than a refused (400) request. */
  readonly failed: number;
  /** Ended by the client, /abort_request or /pause_generation. */
  readonly aborted: number;
  /** Met its other half, of another KV generation. The answer was an error. */
  readonly crossed: number;
  /** In progress now, in whatever queue. */
  readonly open: number;
}
