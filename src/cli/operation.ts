import type { Command } from 'commander';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { OperationProgress } from '../operations/progress.ts';
import { type ClusterRecord, type DeploymentRecord, targetOf } from '../operations/record.ts';
import type { Admitted, OperationRequest } from '../operations/requests.ts';
import { untilCtrlC } from './ends.ts';
import { withCluster } from './known.ts';
import { actorOf, EXIT, exitOf, jsonOption, needFitting, note, print } from './output.ts';
import { neverBackwards, progressLines, renderConclusion, stillLines, type ShownProgress } from './views/operation.ts';
import { clockTime, standstillLines } from './views/standstill.ts';
import { verboseOption, type Shown } from './views/shown.ts';

/** How often progress is read, in milliseconds. */
const POLL_MS = 500;
/** An operation that does not go on is looked for once in so many reads. */
const STANDSTILL_EVERY = 8;
/** Reads without an answer, of some seconds each, after which an ended operation's record is given up. */
const SILENT_READS = 10;
/** After how long without anything new it is said that the operation still goes on, in milliseconds. */
const QUIET_MS = 15_000;

export interface OperationOptions extends Shown {
  readonly detach?: boolean;
  readonly takeOver?: boolean;
  /** Names of hosts. */
  readonly abandonHost?: readonly string[];
  readonly reason?: string;
  readonly actor?: string;
  readonly json?: boolean;
}

/** Adds the options of every verb that follows an operation. */
export const followOptions = (command: Command): Command => jsonOption(verboseOption(command));

/** Adds the options that belong to every operation. */
export const operationOptions = (command: Command): Command =>
  followOptions(
    command
      .option('--detach', 'return as soon as the operation is admitted')
      .option('--take-over', 'where an operation runs, let it yield and go on from what is there')
      .option('--reason <text>', 'why, in at most 1,024 bytes; kept in the history')
      .option(
        '--actor <name>',
        'who asks, in at most 255 bytes; default TANDEM_ACTOR, else user@machine (self-asserted)',
      ),
  );

/** Submits an operation, once `before` has nothing against it, and follows it to its end; sets the exit code. */
export async function runOperation(
  cluster: string,
  request: Pick<OperationRequest, 'operation'> & Partial<OperationRequest>,
  options: OperationOptions,
  before: (client: TandemClient) => Promise<void> = async () => {},
): Promise<void> {
  const actor = actorOf(options.actor);
  needFitting({ reason: options.reason, memo: request.memo });
  await withCluster(
    cluster,
    options.json,
    async (client) => {
      await before(client);
      const abandon = options.abandonHost ?? [];
      if (abandon.length > 0) await needHosts(client, cluster, abandon, request.spec);
      const admitted = await client.submit(cluster, {
        ...request,
        actor,
        ...(options.takeOver ? { takeOver: true } : {}),
        ...(abandon.length > 0 ? { abandon } : {}),
        ...(options.reason ? { reason: options.reason } : {}),
      });
      note(
        `${request.operation} ${cluster}: deployment ${admitted.deployment} admitted (workflow ${admitted.workflowId}${client.settings.uiUrl ? `, ${client.settings.uiUrl}` : ''})`,
      );
      if (options.detach) {
        print(
          admitted,
          () => `See \`tandem status ${cluster} --watch\`, end it with \`tandem cancel ${cluster}\`.`,
          options.json,
        );
        return;
      }
      await follow(client, cluster, admitted, options);
    },
    `${actor} tandem`,
  );
}

/** A misspelt name would abandon nothing, and the operation would end stuck at the dead host again. Errors: USAGE. */
async function needHosts(
  client: TandemClient,
  cluster: string,
  names: readonly string[],
  spec: ClusterSpec | undefined,
): Promise<void> {
  const record = await client.find(cluster);
  const known = [spec, record && targetOf({}, record)?.spec].flatMap((one) => one?.hosts.list ?? []);
  const hosts = new Set([...known, ...(record?.serving?.hosts ?? [])].map(({ name }) => name));
  const strange = names.filter((name) => !hosts.has(name));
  if (strange.length === 0) return;
  throw new DeployError({
    code: 'USAGE',
    message: `--abandon-host ${strange.join(', ')}: neither the spec nor the record of ${cluster} has such a host`,
    remedy: hosts.size > 0 ? `They have ${[...hosts].join(', ')}.` : 'Give the spec by --spec FILE.',
    retryable: false,
  });
}

/** Shows an operation's progress on stderr until it ends, then its conclusion; the first Ctrl-C detaches. */
export async function follow(
  client: TandemClient,
  cluster: string,
  admitted: Admitted,
  options: Pick<OperationOptions, 'json' | 'verbose'>,
): Promise<DeploymentRecord> {
  const { json } = options;
  const { deployment, workflowId } = admitted;
  process.exitCode = EXIT.detached; // Whatever ends this before the operation's end, the operation goes on.
  const farewell = () => {
    note(
      `Detached: ${cluster} goes on. See \`tandem status ${cluster} --watch\`, end it with \`tandem cancel ${cluster}\`.`,
    );
    if (json) print({ ...admitted, detached: true }, () => '', json);
  };
  return await untilCtrlC({ exitCode: EXIT.detached, farewell }, async () => {
    const progress = await shownToItsEnd(client, { cluster, workflowId }, options);
    return await conclude(client, cluster, deployment, progress, options);
  });
}

/** Shows what is new twice a second, and when nothing was for long that it still goes on; returns the last progress. */
async function shownToItsEnd(
  client: TandemClient,
  { cluster, workflowId }: { readonly cluster: string; readonly workflowId: string },
  shown: Shown,
): Promise<OperationProgress | undefined> {
  const clock = stopwatch();
  const told = silences();
  let ended = false;
  let wake = () => {};
  const end = client.settled(workflowId).then(() => {
    ended = true;
    wake();
  });
  let before: ShownProgress | undefined;
  let shownAtMs = 0;
  const show = async () => {
    const read = await told.unless(() => client.progress(workflowId));
    if (!read) return;
    const now = neverBackwards(before, read);
    const lines = progressLines(before, now, shown);
    const quiet = lines.length === 0 && clock.ms() - shownAtMs >= QUIET_MS;
    for (const line of quiet ? stillLines(now, clock.ms()) : lines) note(line);
    if (quiet || lines.length > 0) shownAtMs = clock.ms();
    before = now;
  };
  const looking = watchStandstill(client, { cluster, workflowId }, () => ended);
  while (!ended) {
    await show();
    if (ended) break;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      wake = () => (clearTimeout(timer), resolve());
    });
  }
  await end;
  await looking;
  await show();
  return before;
}

/** Tells once that an operation does not go on, since when and why, and when it goes on again. */
async function watchStandstill(
  client: TandemClient,
  { cluster, workflowId }: { readonly cluster: string; readonly workflowId: string },
  ended: () => boolean,
): Promise<void> {
  let before = '';
  for (let turn = 1; !ended(); turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (turn % STANDSTILL_EVERY !== 0) continue;
    const lines = await client.standstill(cluster, workflowId).then(standstillLines, () => undefined);
    if (lines === undefined) continue; // No server, or it has just ended: said elsewhere.
    if (lines.join() !== before) for (const line of lines.length > 0 ? lines : [GOES_ON]) note(line);
    before = lines.join();
  }
}

/** Tells once that nobody answers, and since when; the operation goes on without us. */
function silences() {
  let silent = false;
  return {
    async unless<T>(ask: () => Promise<T>): Promise<T | undefined> {
      try {
        const answer = await ask();
        if (silent) note(GOES_ON);
        silent = false;
        return answer;
      } catch (error) {
        if (!isSilence(error)) throw error;
        if (!silent) note(`  no answer      since ${clockTime(new Date().toISOString())}: ${error.message}`);
        silent = true;
        return undefined;
      }
    },
  };
}

const GOES_ON = '  goes on        it is answered again';

const isSilence = (error: unknown): error is DeployError =>
  error instanceof DeployError && (error.code === 'NO_WORKER' || error.code === 'TEMPORAL_UNREACHABLE');

function stopwatch() {
  const start = performance.now();
  return { ms: () => performance.now() - start };
}

async function conclude(
  client: TandemClient,
  cluster: string,
  deployment: number,
  progress: OperationProgress | undefined,
  { json, ...shown }: Pick<OperationOptions, 'json' | 'verbose'>,
): Promise<DeploymentRecord> {
  const record = await concludedRecord(client, cluster, deployment);
  const entry = record.deployments.find((candidate) => candidate.deployment === deployment)!;
  process.exitCode = entry.outcome === 'running' ? EXIT.failed : exitOf[entry.outcome];
  print(
    { ...entry, cluster, router: record.serving ? { url: record.serving.router.url } : null },
    () => renderConclusion(entry, record, progress, shown),
    json,
  );
  return entry;
}

/** The entity learns of the end a moment after the child's end, and of one that was terminated when nothing of it acts any more. */
async function concludedRecord(client: TandemClient, cluster: string, deployment: number): Promise<ClusterRecord> {
  const told = silences();
  for (let silent = 0; silent < SILENT_READS; silent += 1) {
    const record = await told.unless(() => client.record(cluster));
    if (record && record.running?.deployment !== deployment) return record;
    if (record) silent = 0;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new DeployError({
    code: 'UNKNOWN',
    message: `deployment ${deployment} of ${cluster} has ended; how, nobody answers`,
    remedy: `See \`tandem status ${cluster}\` once a Temporal worker runs.`,
    retryable: true,
  });
}
