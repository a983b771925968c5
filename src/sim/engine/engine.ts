import { createHash } from 'node:crypto';
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { Clock, EngineEnded } from './clock.ts';
import { UsageError } from './flags.ts';
import { flagTable } from './flag-table.ts';
import { contextLength } from './info.ts';
import { KvServer, listen } from './kv.ts';
import { Metrics } from './metrics.ts';
import { readModel, type Model } from './model.ts';
import { Ranks } from './ranks.ts';
import { Scheduler } from './scheduler.ts';
import { listener, type Serving } from './serving.ts';
import { readSettings, type Settings } from './settings.ts';
import type { EngineFaults, EngineOptions, EngineSignal, RunningEngine, Timing } from './types.ts';

const TIMING: Timing = {
  startSeconds: 0.3,
  warmupSeconds: 0.1,
  prefillMsPerToken: 0.05,
  decodeMsPerToken: 2,
  transferMs: 1,
  secondMs: 1000,
};
/** A real engine's log marks come at these seconds of the 39 until its port opens. */
const REAL_START_SECONDS = 39;
/** Time-outs of a request's halves where the environment sets none, in seconds. */
const DEFAULT_TIMEOUT = '300';
/** A draining engine looks whether it is idle so often, and needs this long to go, in seconds. */
const DRAIN_LOOK_SECONDS = 5;
const SHUTDOWN_SECONDS = 1;
/** A foreign server on the HTTP port is asked so often before the warm-up gives up. */
const WARMUP_TRIES = 120;
const KILLED = 137;
const TERMINATED = 143;

/** Starts a simulated engine in this process; it goes on by itself. Rejects never: what goes wrong is an exit code and a log. */
export function startEngine(options: EngineOptions): Promise<RunningEngine> {
  const engine = new Engine(options);
  engine.start();
  return Promise.resolve(engine);
}

/** An end that the engine brings about itself, with the lines it leaves. */
class Exit extends Error {
  readonly code: number;
  readonly lines: readonly string[];

  constructor(code: number, ...lines: string[]) {
    super(`exit ${code}`);
    this.code = code;
    this.lines = lines;
  }
}

class Engine implements RunningEngine {
  readonly exited: Promise<number>;
  readonly ready: Promise<void>;
  readonly #options: EngineOptions;
  readonly #timing: Timing;
  readonly #faults: EngineFaults;
  readonly #clock: Clock;
  readonly #counts = { received: 0, answered: 0, failed: 0, aborted: 0, crossed: 0 };
  readonly #startedAt = performance.now();
  readonly #closing: (() => void)[] = [];
  #serving: Serving | undefined;
  #http: HttpServer | undefined;
  #ranks: Ranks | undefined;
  #readyAt: number | undefined;
  #resolveExited: (code: number) => void = () => undefined;
  #resolveReady: () => void = () => undefined;
  #ended = false;
  /** Signals other than KILL wait for CONT, as in the kernel. */
  #stopped = false;
  #termPending = false;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#timing = { ...TIMING, ...options.timing };
    this.#faults = options.faults ?? {};
    this.#clock = new Clock(this.#timing.secondMs);
    this.exited = new Promise((resolve) => (this.#resolveExited = resolve));
    this.ready = new Promise((resolve) => (this.#resolveReady = resolve));
  }

  start(): void {
    this.#live().catch((error: unknown) => {
      if (error instanceof EngineEnded) return;
      if (error instanceof Exit) {
        for (const line of error.lines) this.#log(line);
        return this.#end(error.code);
      }
      this.#log(`Traceback (simulated engine): ${error instanceof Error ? error.stack : String(error)}`);
      this.#end(1);
    });
  }

  signal(name: EngineSignal): void {
    if (this.#ended) return;
    if (name === 'SIGKILL') return this.#end(KILLED);
    if (name === 'SIGSTOP') {
      this.#stopped = true;
      this.#clock.stop();
    } else if (name === 'SIGCONT') {
      this.#stopped = false;
      this.#clock.resume();
      if (this.#termPending) this.#terminate();
    } else if (this.#stopped) this.#termPending = true;
    else this.#terminate();
  }

  counts() {
    return { ...this.#counts, open: this.#serving?.scheduler.jobs.size ?? 0 };
  }

  async #live(): Promise<void> {
    await this.#at(12);
    const settings = await this.#settings();
    this.#log(`server_args=${JSON.stringify(settings.args)}`);
    const host = this.#bindAddress(settings.host);
    const model = await readModel(this.#path(settings.modelPath));
    const generation = generationOf(settings, model, this.#options.image);
    // Long before the HTTP port, and before anything else can fail.
    const bootstraps = settings.role === 'prefill' && settings.nodeRank === 0;
    const kv = bootstraps ? await this.#openKv(settings, host, generation) : undefined;
    await this.#at(18);
    if (model === undefined) throw noModel(settings.modelPath);
    this.#serving = this.#newServing(settings, model, host, generation, kv);
    await this.#at(20);
    await this.#meetRanks(settings);
    if (settings.nodeRank > 0) return this.#mayBeKilled(settings.nodeRank);
    await this.#load(settings, model);
    if (this.#faults.neverListens) await this.#clock.race(new Promise<never>(() => undefined));
    await this.#serve(settings, host, this.#serving);
  }

  async #settings(): Promise<Settings> {
    try {
      return await readSettings(this.#options);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      const flags = Object.keys(flagTable(this.#options.version ?? ''));
      throw new Exit(
        2,
        'usage: sglang serve [-h]',
        ...flags.map((flag) => `                    [--${flag} ${flag.toUpperCase().replaceAll('-', '_')}]`),
        `sglang serve: error: ${error.message}`,
      );
    }
  }

  /** Where the bootstrap port is taken the engine says so and goes on, as the real one does. */
  async #openKv(settings: Settings, host: string, generation: string): Promise<KvServer> {
    const kv = new KvServer({ generation, clock: this.#clock });
    this.#closing.push(() => kv.close());
    const taken = await kv.open({ host, bootstrapPort: settings.bootstrapPort });
    const where = `${settings.host}:${settings.bootstrapPort}`;
    if (taken === undefined) this.#log(`CommonKVBootstrapServer started successfully on ${where}`);
    else {
      this.#log(
        `Server error: [Errno 98] error while attempting to bind on address ('${settings.host}', ${settings.bootstrapPort}): address already in use`,
      );
      this.#log('Traceback (most recent call last):');
    }
    return kv;
  }

  async #meetRanks(settings: Settings): Promise<void> {
    if (settings.nodes === 1 || settings.distInit === undefined) return;
    const { nodes, nodeRank, distInit } = settings;
    this.#ranks = new Ranks(this.#clock);
    const at = { host: this.#bindAddress(distInit.host), port: distInit.port };
    if (nodeRank === 0) await this.#ranks.lead({ ...at, others: nodes - 1 });
    else await this.#ranks.follow({ ...at, rank: nodeRank });
    this.#log(`Init torch distributed ends. rank=${nodeRank} nnodes=${nodes}`);
    if (nodeRank > 0) {
      this.#readyAt = performance.now();
      this.#resolveReady();
    }
    // An engine is whole or gone: where one rank ends, the others cannot go on.
    this.#ranks.ended
      .then((graceful) => {
        this.#log(`Rank ${nodeRank} lost its peers${graceful ? ' in a shutdown' : ''}`);
        this.#end(graceful ? 0 : KILLED);
      })
      .catch(() => undefined);
  }

  #mayBeKilled(rank: number): void {
    if (!this.#faults.killedWhileLoading) return;
    throw new Exit(
      KILLED,
      `RuntimeError: Rank ${rank} scheduler died during initialization (exit code: -9). If exit code is -9 (SIGKILL), a common cause is the OS OOM killer.`,
    );
  }

  async #load(settings: Settings, model: Model): Promise<void> {
    await this.#at(32);
    const { release, maxTotalTokens, maxRunning, args } = settings;
    this.#log(`${release.initOfRanks} begin.`);
    this.#log(`${release.initOfRanks} ends. elapsed=0.40 s`);
    await this.#at(36);
    this.#mayBeKilled(0);
    this.#log('Load weight begin. avail mem=191.20 GB');
    this.#log(
      `Load weight end. elapsed=0.01 s, type=${model.architectures[0]}, avail mem=190.00 GB, mem usage=1.20 GB.`,
    );
    if (this.#faults.outOfMemory || settings.memFraction < 0.01) {
      throw new Exit(
        KILLED,
        'ValueError: Loaded weights leave no GPU memory for the KV cache. Raise --mem-fraction-static or use more GPUs.',
        'Received sigquit from a child process. It usually means the child failed.',
        ...release.lastWords,
      );
    }
    this.#log(
      `KV Cache is allocated. dtype: torch.bfloat16, #tokens: ${maxTotalTokens}, K size: 8.00 GB, V size: 8.00 GB`,
    );
    this.#log('Memory pool end. avail mem=38.20 GB');
    this.#log(
      `max_total_num_tokens=${maxTotalTokens}, chunked_prefill_size=${Number(args['chunked_prefill_size'])}, max_prefill_tokens=${Number(args['max_prefill_tokens'])}, max_running_requests=${maxRunning}, context_len=${contextLength(settings, model)}, available_gpu_mem=38.20 GB`,
    );
    if (release.logsTimings) this.#log('Engine startup timings (s): load_weight=0.01, kv_cache_allocation=0.66');
    await this.#at(REAL_START_SECONDS);
  }

  async #serve(settings: Settings, host: string, serving: Serving): Promise<void> {
    const http = createHttpServer(listener(serving));
    http.requestTimeout = 0;
    http.keepAliveTimeout = 5000;
    const taken = await listen(http, host, settings.port).then(
      () => undefined,
      (error: Error) => error,
    );
    const where = `${settings.host}:${settings.port}`;
    if (taken !== undefined) {
      this.#log(
        `ERROR:    [Errno 98] error while attempting to bind on address ('${settings.host}', ${settings.port}): address already in use`,
      );
      throw await this.#warmUpElsewhere(host, settings);
    }
    this.#http = http;
    this.#log(`Uvicorn running on http://${where} (Press CTRL+C to quit)`);
    if (this.#faults.neverReady) return;
    await this.#clock.sleep(this.#timing.warmupSeconds * 1000);
    if (settings.role !== 'null') {
      this.#log('Start of pd disaggregation warmup ...');
      this.#log('Disaggregation warmup requests completed for all 1 DP ranks');
      this.#log(settings.release.endOfWarmup);
    }
    serving.phase = 'ready';
    this.#readyAt = performance.now();
    this.#log('The server is fired up and ready to roll!');
    this.#resolveReady();
    this.#spoil();
  }

  /** The HTTP port is somebody else's: an engine there answers the warm-up in this one's place, any other server never does. */
  async #warmUpElsewhere(host: string, { port, release }: Settings): Promise<Exit> {
    const end = (line: string) => new Exit(release.takenPortExit, line, ...release.lastWords);
    for (let attempt = 1; attempt <= WARMUP_TRIES; attempt += 1) {
      const answer = await fetch(`http://${host}:${port}/model_info`).catch(() => undefined);
      if (answer?.ok) return end('The server is fired up and ready to roll!');
      await this.#clock.patience(1);
    }
    return end('Initialization failed. warmup error: Traceback (most recent call last):');
  }

  #spoil(): void {
    const { exitsAfterReady, hangsAfterReady } = this.#faults;
    const later = (seconds: number, act: () => void) => void this.#clock.patience(seconds).then(act, () => undefined);
    if (exitsAfterReady !== undefined) later(exitsAfterReady.seconds, () => this.#end(exitsAfterReady.exitCode));
    if (hangsAfterReady !== undefined) later(hangsAfterReady.seconds, () => this.#clock.stop());
  }

  #terminate(): void {
    this.#termPending = false;
    const serving = this.#serving;
    if (serving === undefined || this.#readyAt === undefined || this.#http === undefined) return this.#end(TERMINATED);
    if (serving.phase === 'draining') return;
    serving.phase = 'draining';
    this.#log('SIGTERM received. signum=None frame=None. Draining requests and shutting down...');
    this.#drain(serving, this.#readyAt).catch(() => undefined);
  }

  /** Goes on accepting; looks at its own rhythm, which began when it was ready, and goes once it is idle. */
  async #drain({ scheduler, settings, unforgotten }: Serving, readyAt: number): Promise<void> {
    const rhythmMs = DRAIN_LOOK_SECONDS * this.#timing.secondMs;
    await this.#clock.sleep(rhythmMs - ((performance.now() - readyAt) % rhythmMs));
    for (;;) {
      const rids = [...[...scheduler.jobs].map(({ rid }) => rid), ...unforgotten];
      this.#log(
        `Gracefully exiting... Remaining number of requests ${rids.length}. Remaining requests remaining_rids=${JSON.stringify(rids)}.`,
      );
      if (rids.length === 0) break;
      await this.#clock.patience(DRAIN_LOOK_SECONDS);
    }
    await this.#clock.patience(SHUTDOWN_SECONDS / 2);
    this.#http?.close();
    this.#http?.closeAllConnections();
    await this.#clock.patience(SHUTDOWN_SECONDS / 2);
    this.#ranks?.dismiss();
    this.#end(settings.release.drainedExit);
  }

  #end(code: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#clock.end();
    this.#http?.close();
    this.#http?.closeAllConnections();
    for (const close of this.#closing) close();
    this.#ranks?.close();
    this.#resolveExited(code);
  }

  #newServing(settings: Settings, model: Model, host: string, generation: string, kv: KvServer | undefined): Serving {
    const metrics = new Metrics({
      role: settings.role,
      model: settings.servedModelName,
      release: settings.release,
    });
    const scheduler: Scheduler = new Scheduler({
      clock: this.#clock,
      timing: this.#timing,
      generation,
      maxRunning: settings.maxRunning,
      timeouts: this.#timeouts(),
      transferStuck: this.#faults.transferStuck ?? false,
      events: {
        batch: () => rewriteGauges(metrics, scheduler, settings),
        crossed: (job, ours, theirs) => {
          this.#counts.crossed += 1;
          this.#log(
            `KV generation crossed: room ${job.bootstrap?.room}, this engine ${ours.slice(0, 12)}, its other half ${theirs.slice(0, 12)}`,
          );
        },
        log: (line) => this.#log(line),
        bootstrapFailed: () => metrics.add('num_bootstrap_failed_reqs_total', {}),
        transferFailed: () => metrics.add('num_transfer_failed_reqs_total', {}),
        stage: (stage, ms) => {
          metrics.observe('per_stage_req_latency_seconds', { stage }, ms / 1000);
          if (stage.endsWith('_bootstrap')) metrics.observe('kv_transfer_bootstrap_ms', {}, ms);
          if (stage === 'prefill_transfer_kv_cache') metrics.observe('kv_transfer_latency_ms', {}, ms);
        },
      },
    });
    const total = settings.maxTotalTokens;
    metrics.set('max_total_num_tokens', {}, total);
    metrics.set('num_pages', {}, total);
    metrics.set('cache_config_info', { num_pages: String(total), page_size: String(settings.args['page_size']) }, 1);
    metrics.set('context_len', {}, contextLength(settings, model));
    metrics.set('utilization', {}, settings.role === 'prefill' ? -1 : 0);
    rewriteGauges(metrics, scheduler, settings);
    return {
      settings,
      model,
      metrics,
      scheduler,
      kv,
      clock: this.#clock,
      counts: this.#counts,
      prefilled: { tokens: 0, busyUs: 0 },
      unforgotten: [],
      phase: 'starting',
      warm: this.ready,
      role: settings.role,
      saysRole: this.#faults.saysRole,
      openKv: () => this.#openKv(settings, host, generation),
      log: (line) => this.#log(line),
      die: () => {
        this.#log('Scheduler hit an exception: Traceback (most recent call last):');
        this.#log('Received sigquit from a child process. It usually means the child failed.');
        this.#end(KILLED);
      },
    };
  }

  #timeouts() {
    const env = this.#options.env ?? {};
    return {
      bootstrapSeconds: Number(env['SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT'] ?? DEFAULT_TIMEOUT),
      waitingSeconds: Number(env['SGLANG_DISAGGREGATION_WAITING_TIMEOUT'] ?? DEFAULT_TIMEOUT),
    };
  }

  /** Waits until the moment that real engines reach so many seconds after their start. */
  async #at(realSeconds: number): Promise<void> {
    const dueMs = (realSeconds / REAL_START_SECONDS) * this.#timing.startSeconds * 1000;
    await this.#clock.sleep(Math.max(0, dueMs - (performance.now() - this.#startedAt)));
  }

  #bindAddress(host: string): string {
    const any = host === '0.0.0.0' || host === '::';
    return any ? (this.#options.hostAddress ?? host) : host;
  }

  #path(path: string): string {
    return this.#options.resolvePath?.(path) ?? path;
  }

  #log(line: string): void {
    const stamp = new Date().toISOString().slice(0, 19).replace('T', ' ');
    this.#options.log(`[${stamp}] ${line}`);
  }
}

const noModel = (path: string) =>
  new Exit(
    1,
    'Traceback (most recent call last):',
    `OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '${path}'. Use \`repo_type\` argument if needed.`,
  );

/** Digest of what both halves of a request must share. */
function generationOf(
  { args, version, modelPath }: Settings,
  model: Model | undefined,
  image: string | undefined,
): string {
  const shared = [
    model?.contentId ?? modelPath,
    args['dtype'],
    args['kv_cache_dtype'],
    args['page_size'],
    args['disaggregation_transfer_backend'],
    version,
    image ?? null,
  ];
  return createHash('sha256').update(JSON.stringify(shared)).digest('hex');
}

/** Called with a batch and when the engine falls idle, never between: hence the old values that real gauges show while requests are stuck. */
function rewriteGauges(metrics: Metrics, scheduler: Scheduler, { maxTotalTokens }: Settings): void {
  const used = scheduler.usedTokens;
  const gauges: Readonly<Record<string, number>> = {
    num_running_reqs: scheduler.count('running'),
    num_queue_reqs: scheduler.count('waiting'),
    num_prefill_bootstrap_queue_reqs: scheduler.count('bootstrap'),
    num_prefill_inflight_queue_reqs: scheduler.count('inflight'),
    num_decode_prealloc_queue_reqs: scheduler.count('prealloc'),
    num_decode_transfer_queue_reqs: scheduler.count('transfer'),
    gen_throughput: scheduler.throughput,
    num_used_tokens: used,
    kv_used_tokens: used,
    kv_available_tokens: maxTotalTokens - used,
    token_usage: used / maxTotalTokens,
    full_token_usage: used / maxTotalTokens,
  };
  for (const [name, value] of Object.entries(gauges)) metrics.set(name, {}, value);
}
