import { DeployError } from '../src/errors.ts';
import { NoAnswer } from '../src/drivers/ask.ts';
import { engineClient, type EngineClient } from '../src/drivers/engine-client.ts';
import type { Drivers, Host, UnitState } from '../src/drivers/types.ts';
import type { EnginePlan, HostRef, RankPlan } from '../src/plan/types.ts';
import { heartbeat, signal } from './context.ts';
import { explainExit, type ExitReason } from './engine-exit.ts';
import {
  containerOf,
  expandAll,
  findUnit,
  labelsOf,
  logOf,
  needFreePorts,
  pacer,
  redacted,
  removeUnit,
  secretOf,
  stopUnit,
  tailOf,
  unitFolder,
  unitOf,
  valuesOf,
  type Labelled,
  type UnitAt,
} from './units.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import type { Redact } from '../src/text/printable.ts';
import { ending, raw, type Raw } from '../src/text/raw.ts';
import { keepLog, type LogOutcome } from './kept-logs.ts';

export interface StartRank {
  readonly ref: HostRef;
  readonly engine: EnginePlan;
  readonly rank: number;
  readonly cluster: string;
  readonly installation: string;
  /** From the fetch step; only with runtime docker. */
  readonly imageId?: string;
}

export interface AwaitEngine {
  /** The hosts of all ranks, in any order. */
  readonly refs: readonly HostRef[];
  readonly engine: EnginePlan;
  readonly cluster: string;
  readonly installation: string;
}

export interface EngineReady {
  readonly name: string;
  /** From the start of rank 0 until it was seen ready, in seconds. */
  readonly startSeconds: number;
  /** SGLang's version, by the engine itself. */
  readonly version: string;
}

/** Enough for the marks of a start, which come before any request does. */
const LOG_LINES = 5_000;

/** Starting, awaiting and ending engines. `pollMs` is the first pause between two looks at a starting engine. */
export function createEngineActivities(
  drivers: Drivers,
  redact: Redact,
  { pollMs = 1000 }: { readonly pollMs?: number } = {},
) {
  return {
    /**
     * Starts one rank, or finds the one that a former attempt started. Errors: PORT_TAKEN, SECRET_MISSING,
     * NAME_CONFLICT and what the runtime throws.
     */
    async startRank({ ref, engine, rank: number, cluster, installation, imageId }: StartRank): Promise<void> {
      const host = drivers.host(ref, signal());
      const rank = rankOf(engine, number);
      const unit = unitOf(engine, { cluster, installation });
      if (await findUnit(host, unit)) return;
      await needFreePorts(host, rank.ports, engine.name, 'engine.ports');

      const folder = await unitFolder(host, { ...unit, rank: number });
      const config = await writeKeys(drivers, host, engine, rank, folder);
      await host.runtime(engine.runtime).start({
        name: engine.name,
        labels: labelsOf(labelled(engine, rank), { cluster, installation }),
        argv: await argvOf(host, rank, folder),
        env: { ...rank.env, ...(await secretEnvOf(drivers, rank)) },
        stopTimeoutSeconds: engine.stopTimeoutSeconds,
        ...(rank.container
          ? { container: await containerOf(host, rank.container, imageId, config === undefined ? [] : [config]) }
          : {}),
      });
    },

    /**
     * Waits until the engine that was started here is ready to generate, watching every rank. An open port proves
     * nothing, and another process may answer on it: ready is a generated token, then the role and name of the plan,
     * while our own units still run and their log says that the ports were theirs.
     * Errors: ENGINE_EXITED, ENGINE_NOT_READY, ENGINE_WRONG, PORT_TAKEN.
     */
    async awaitEngine({ refs, engine, cluster, installation }: AwaitEngine): Promise<EngineReady> {
      const unit = unitOf(engine, { cluster, installation });
      const parts = engine.ranks.map((rank) => ({ rank, host: drivers.host(refOf(refs, rank.host), signal()) }));
      const [first] = parts;
      if (!first) throw new Error(`${engine.name} has no ranks`);
      const { host } = first;
      const client = engineClient({
        fetch: host.fetch,
        url: engine.url,
        key: await secretOf(drivers, engine.apiKey),
      });
      const secrets = () => secretsOf(drivers, engine);
      const ageSeconds = await clockOf(host);
      const pause = pacer(pollMs);
      let seen = 'nothing yet';
      let before: readonly UnitState[] | undefined;

      for (;;) {
        const units = await unitsOf(engine, parts, unit, secrets);
        before ??= units;
        needSame(engine, before, units);
        const looked = await look(engine, client, host, secrets);
        seen = looked.seen;
        const startSeconds = ageSeconds(units[0]!);
        heartbeat({ engine: engine.name, seen, startSeconds });
        if (looked.version !== undefined) {
          const { version } = looked;
          // Only now: what answered may have been another process while ours was dying.
          needSame(engine, before, await unitsOf(engine, parts, unit, secrets));
          return { name: engine.name, startSeconds, version };
        }
        if (startSeconds > engine.readyTimeoutSeconds) {
          throw new DeployError({
            code: 'ENGINE_NOT_READY',
            message: `${engine.name} on ${engine.host} was not ready ${Math.round(startSeconds)} s after its start, engine.readyTimeoutSeconds is ${engine.readyTimeoutSeconds}; last seen: ${seen}`,
            remedy:
              'Read its log, quoted here from the end; a large model may need a larger engine.readyTimeoutSeconds.',
            retryable: false,
            host: engine.host,
            evidence: tailOf((await logOf(host.runtime(engine.runtime), engine.name, 200)) ?? raw(''), await secrets()),
          });
        }
        await pause();
      }
    },

    /** TERM, which lets requests in flight end, and KILL after the limit. The unit stays and can be restarted. */
    async stopRank({ timeoutSeconds, ...unit }: UnitAt & { readonly timeoutSeconds: number }): Promise<void> {
      await stopUnit(drivers, unit, timeoutSeconds);
    },

    /** Starts a stopped unit as it was. Errors: ENGINE_EXITED when there is nothing to start. */
    async restartRank(unit: UnitAt): Promise<void> {
      const host = drivers.host(unit.ref, signal());
      if (!(await findUnit(host, unit))) throw gone(unit.name, unit.ref.name);
      await host.runtime(unit.runtime).restart(unit.name);
    },

    /**
     * Forgets a unit and deletes its folder. Not started, half removed and removed already are fine. Where `keepLog` says
     * which secrets its log may show, the end of that is kept on the host first.
     */
    async removeRank({
      keepLog: secrets,
      ...unit
    }: UnitAt & { readonly keepLog?: readonly SecretRef[] }): Promise<LogOutcome | undefined> {
      return await removeUnit(drivers, unit, async (host) =>
        secrets ? await keepLog(drivers, host, unit, secrets, redact) : undefined,
      );
    },
  };
}

// ---- Starting

function rankOf(engine: EnginePlan, number: number): RankPlan {
  const rank = engine.ranks.find((row) => row.rank === number);
  if (!rank) throw new Error(`${engine.name} has no rank ${number}`);
  return rank;
}

function refOf(refs: readonly HostRef[], name: string): HostRef {
  const ref = refs.find((row) => row.name === name);
  if (!ref) throw new Error(`no address given for host ${name}`);
  return ref;
}

const labelled = (
  { role, index, digest, deployment, url, kvGeneration }: EnginePlan,
  { rank, gpus, nics }: RankPlan,
): Labelled => ({
  kind: 'engine',
  role,
  index,
  rank,
  digest,
  deployment,
  gpus: gpus.map((gpu) => gpu.index),
  nics,
  ...(rank === 0 ? { url } : {}), // The router knows rank 0 only.
  generation: kvGeneration,
});

const CONFIG = '{config}';
const configOf = (folder: string) => `${folder}/keys.yaml`;

/** The command line of a rank as its host runs it: "~/" expanded, "{config}" the path of its file with keys. */
export async function argvOf(host: Host, { argv }: RankPlan, folder: string): Promise<string[]> {
  return (await expandAll(host, argv)).map((argument) => (argument === CONFIG ? configOf(folder) : argument));
}

/** SGLang reads flags from a YAML file by --config, so that no key shows in a process list. JSON strings are YAML. */
async function writeKeys(
  drivers: Drivers,
  host: Host,
  { apiKey, adminKey }: EnginePlan,
  { argv }: RankPlan,
  folder: string,
): Promise<string | undefined> {
  if (!argv.includes(CONFIG)) return undefined;
  const keys = { 'api-key': await secretOf(drivers, apiKey), 'admin-api-key': await secretOf(drivers, adminKey) };
  const rows = Object.entries(keys).flatMap(([flag, value]) =>
    value === undefined ? [] : [`${flag}: ${JSON.stringify(value)}\n`],
  );
  const path = configOf(folder);
  await host.writeFile(path, rows.join(''), { mode: 0o600 });
  return path;
}

async function secretEnvOf(drivers: Drivers, { secretEnv }: RankPlan): Promise<Record<string, string>> {
  const rows = Object.entries(secretEnv).map(async ([name, ref]) => [name, await drivers.secret(ref)] as const);
  return Object.fromEntries(await Promise.all(rows));
}

/** Every secret that a log of this engine may show. */
async function secretsOf(drivers: Drivers, engine: EnginePlan): Promise<string[]> {
  const refs = [engine.apiKey, engine.adminKey, ...engine.ranks.flatMap(({ secretEnv }) => Object.values(secretEnv))];
  return await valuesOf(
    drivers,
    refs.filter((ref) => ref !== undefined),
  );
}

// ---- Awaiting

interface Part {
  readonly rank: RankPlan;
  readonly host: Host;
}

/** How far the engine is; once it is ready, its version by itself too. Errors: ENGINE_WRONG, PORT_TAKEN. */
async function look(
  engine: EnginePlan,
  client: EngineClient,
  host: Host,
  secrets: () => Promise<string[]>,
): Promise<{ readonly seen: string; readonly version?: string }> {
  try {
    const readiness = await client.readiness();
    if (!readiness.ready) return readiness;
    const log = await logOf(host.runtime(engine.runtime), engine.name, LOG_LINES);
    if (log !== undefined) {
      await needOwnPorts(engine, log, secrets);
      const missing = missingMark(engine, log);
      if (missing !== undefined) return { seen: `ready, but its log has no line "${missing}"` };
    }
    const { role, servedModelName, version } = await client.identity();
    needAsPlanned(
      engine,
      'role',
      role,
      engine.role,
      `Check --disaggregation-mode in engine.args and ${engine.role}.args.`,
    );
    needAsPlanned(
      engine,
      'served model name',
      servedModelName,
      engine.servedModelName,
      'Check model.id, and served-model-name in engine.args.',
    );
    return { seen: 'ready', version };
  } catch (error) {
    if (error instanceof NoAnswer) return { seen: error.message };
    throw error;
  }
}

function needAsPlanned(engine: EnginePlan, what: string, measured: string, wanted: string, remedy: string): void {
  if (measured === wanted) return;
  throw new DeployError({
    code: 'ENGINE_WRONG',
    message: `${engine.name} on ${engine.host} says its ${what} is "${measured}", the plan has "${wanted}"`,
    remedy,
    retryable: false,
    host: engine.host,
  });
}

/** An engine whose port was taken goes on, says ready and even passes its own warm-up, which the other process answers. */
async function needOwnPorts(engine: EnginePlan, log: Raw, secrets: () => Promise<string[]>): Promise<void> {
  const line = log.split('\n').find((row) => row.includes('[Errno 98]'));
  if (line === undefined) return;
  throw new DeployError({
    code: 'PORT_TAKEN',
    message: `${engine.name} on ${engine.host} says ready, but could not bind one of its ports`,
    remedy: 'End what listens on that port, or change engine.ports.',
    retryable: false,
    host: engine.host,
    evidence: tailOf(raw(line), await secrets()),
  });
}

/** Proof that the ports are this process's own. Only a log that shows its start can lack a line. */
function missingMark({ role }: EnginePlan, log: string): string | undefined {
  if (!log.includes('server_args=')) return undefined; // Cut, or a log level that hides such lines.
  const marks =
    role === 'prefill' ? ['BootstrapServer started successfully', 'Uvicorn running on'] : ['Uvicorn running on'];
  return marks.find((mark) => !log.includes(mark));
}

/** The unit of every rank, all running. Errors: ENGINE_EXITED, for the rank whose log says most. */
async function unitsOf(
  engine: EnginePlan,
  parts: readonly Part[],
  unit: Omit<UnitAt, 'ref' | 'rank'>,
  secrets: () => Promise<string[]>,
): Promise<readonly UnitState[]> {
  const units = await Promise.all(parts.map(({ host }) => findUnit(host, unit)));
  const ended = parts.filter((_, index) => units[index]?.running !== true);
  if (ended.length === 0) return units as UnitState[];
  const exits = await Promise.all(
    ended.map(async ({ rank, host }) => {
      const state = units[parts.findIndex((part) => part.rank === rank)];
      if (!state) return { rank, reason: undefined, failure: gone(engine.name, host.ref.name) };
      // Without its secrets before anything is quoted from it.
      const log = redacted(
        (await logOf(host.runtime(engine.runtime), engine.name, LOG_LINES)) ?? raw(''),
        await secrets(),
      );
      const reason = explainExit({
        exitCode: state.exitCode,
        oomKilled: state.oomKilled === true,
        log,
        role: engine.role,
      });
      return { rank, reason, failure: exited(engine, rank, state, reason, ending(log)) };
    }),
  );
  // When one rank dies the others follow with little to say.
  const telling = exits.find(
    ({ reason }) => reason && !['terminated', 'scheduler', 'killed', 'other'].includes(reason.kind),
  );
  throw (telling ?? exits[0]!).failure;
}

const exited = (engine: EnginePlan, rank: RankPlan, { exitCode }: UnitState, reason: ExitReason, tail: Raw) =>
  new DeployError({
    code: 'ENGINE_EXITED',
    message: `${engine.name}${engine.ranks.length > 1 ? ` rank ${rank.rank}` : ''} on ${rank.host} ended with exit code ${exitCode ?? 'unknown'} before it was ready: ${reason.because}`,
    remedy: reason.remedy,
    retryable: false,
    host: rank.host,
    evidence: tail,
  });

const gone = (name: string, host: string) =>
  new DeployError({
    code: 'ENGINE_EXITED',
    message: `${name} is not on ${host} any more: somebody removed it`,
    remedy: `Find out who removes containers or jobs on ${host}, then run the operation again.`,
    retryable: false,
    host,
  });

/** A restarted unit is another process: what the first one answered says nothing of it. */
function needSame(engine: EnginePlan, before: readonly UnitState[], after: readonly UnitState[]): void {
  for (const [index, { startedAt, pid }] of before.entries()) {
    const now = after[index]!;
    if (now.startedAt === startedAt && now.pid === pid) continue;
    const { host } = engine.ranks[index]!;
    throw new DeployError({
      code: 'ENGINE_EXITED',
      message: `${engine.name} on ${host} was restarted by somebody while it was awaited (pid ${pid} → ${now.pid})`,
      remedy: `Find out who restarts containers or jobs on ${host}, then run the operation again.`,
      retryable: false,
      host,
    });
  }
}

/** Age of a unit in seconds, by the clock of its host: that of the Temporal worker may differ by hours. */
async function clockOf(host: Host): Promise<(unit: UnitState) => number> {
  const { stdout, exitCode } = await host.run({ argv: ['date', '-u', '+%s'], timeoutMs: 10_000 });
  const hostNow = Number(stdout.trim()) * 1000;
  const aheadMs = exitCode === 0 && Number.isFinite(hostNow) && hostNow > 0 ? hostNow - Date.now() : 0;
  const firstLook = Date.now() + aheadMs;
  return ({ startedAt }) => {
    const started = startedAt === undefined ? Number.NaN : Date.parse(startedAt);
    return Math.max(0, Date.now() + aheadMs - (Number.isNaN(started) ? firstLook : started)) / 1000;
  };
}
