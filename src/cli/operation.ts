import type { Command } from 'commander';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { Admitted, OperationProgress, OperationRequest } from '../../workflows/messages.ts';
import { targetOf } from '../../workflows/record.ts';
import { untilCtrlC } from './ends.ts';
import { withCluster } from './known.ts';
import { actorOf, EXIT, exitOf, jsonOption, note, print } from './output.ts';
import { neverBackwards, progressLines, renderConclusion, stillLines, type ShownProgress } from './views/operation.ts';
import { verboseOption, type Shown } from './views/shown.ts';

/** How often progress is read, in milliseconds. */
const POLL_MS = 500;
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
      .option('--reason <text>', 'why; kept in the history')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
  );

/** Submits an operation, once `before` has nothing against it, and follows it to its end; sets the exit code. */
export async function runOperation(
  cluster: string,
  request: Pick<OperationRequest, 'operation'> & Partial<OperationRequest>,
  options: OperationOptions,
  before: (client: TandemClient) => Promise<void> = async () => {},
): Promise<void> {
  const actor = actorOf(options.actor);
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
): Promise<void> {
  const { json } = options;
  const { deployment, workflowId } = admitted;
  process.exitCode = EXIT.detached; // Whatever ends this before the operation's end, the operation goes on.
  const farewell = () => {
    note(
      `Detached: ${cluster} goes on. See \`tandem status ${cluster} --watch\`, end it with \`tandem cancel ${cluster}\`.`,
    );
    if (json) print({ ...admitted, detached: true }, () => '', json);
  };
  await untilCtrlC({ exitCode: EXIT.detached, farewell }, async () => {
    const progress = await shownToItsEnd(client, workflowId, options);
    await conclude(client, cluster, deployment, progress, options);
  });
}

/** Shows what is new twice a second, and when nothing was for long that it still goes on; returns the last progress. */
async function shownToItsEnd(
  client: TandemClient,
  workflowId: string,
  shown: Shown,
): Promise<OperationProgress | undefined> {
  const clock = stopwatch();
  let ended = false;
  let wake = () => {};
  const end = client.settled(workflowId).then(() => {
    ended = true;
    wake();
  });
  let before: ShownProgress | undefined;
  let shownAtMs = 0;
  const show = async () => {
    const read = await client.progress(workflowId);
    if (!read) return;
    const now = neverBackwards(before, read);
    const lines = progressLines(before, now, shown);
    const quiet = lines.length === 0 && clock.ms() - shownAtMs >= QUIET_MS;
    for (const line of quiet ? stillLines(now, clock.ms()) : lines) note(line);
    if (quiet || lines.length > 0) shownAtMs = clock.ms();
    before = now;
  };
  while (!ended) {
    await show();
    if (ended) break;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, POLL_MS);
      wake = () => (clearTimeout(timer), resolve());
    });
  }
  await end;
  await show();
  return before;
}

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
): Promise<void> {
  const record = await concludedRecord(client, cluster, deployment);
  const entry = record.deployments.find((candidate) => candidate.deployment === deployment)!;
  process.exitCode = entry.outcome === 'running' ? EXIT.failed : exitOf[entry.outcome];
  print(
    { ...entry, cluster, router: record.serving ? { url: record.serving.router.url } : null },
    () => renderConclusion(entry, record, progress, shown),
    json,
  );
}

/** The entity learns of the end a moment after the child's end. */
async function concludedRecord(client: TandemClient, cluster: string, deployment: number) {
  for (;;) {
    const record = await client.record(cluster);
    if (record.running?.deployment !== deployment) return record;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
