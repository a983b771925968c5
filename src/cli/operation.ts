import type { Command } from 'commander';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { Admitted, OperationProgress, OperationRequest } from '../../workflows/messages.ts';
import { targetOf } from '../../workflows/record.ts';
import { actorOf, EXIT, exitOf, jsonOption, needFitting, note, print, withClient } from './output.ts';
import { progressLines, renderConclusion } from './views/operation.ts';

/** How often progress is read, in milliseconds. */
const POLL_MS = 500;

export interface OperationOptions {
  readonly detach?: boolean;
  readonly takeOver?: boolean;
  /** Names of hosts. */
  readonly abandonHost?: readonly string[];
  readonly reason?: string;
  readonly actor?: string;
  readonly json?: boolean;
}

/** Adds the options that belong to every operation. */
export const operationOptions = (command: Command): Command =>
  jsonOption(
    command
      .option('--detach', 'return as soon as the operation is admitted')
      .option('--take-over', 'where an operation runs, let it yield and go on from what is there')
      .option('--reason <text>', 'why; kept in the history')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
  );

/** Submits an operation and follows it to its end; sets the exit code. */
export async function runOperation(
  cluster: string,
  request: Pick<OperationRequest, 'operation'> & Partial<OperationRequest>,
  options: OperationOptions,
): Promise<void> {
  const actor = actorOf(options.actor);
  needFitting({ reason: options.reason, memo: request.memo });
  await withClient(
    options.json,
    async (client) => {
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
      await follow(client, cluster, admitted, options.json);
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
  { deployment, workflowId }: Admitted,
  json: boolean | undefined,
): Promise<void> {
  let detached = false;
  let wake = () => {};
  const detach = () => {
    detached = true;
    wake();
  };
  process.once('SIGINT', detach);
  try {
    let ended = false;
    const end = client.settled(workflowId).then(() => {
      ended = true;
      wake();
    });
    let before: OperationProgress | undefined;
    const show = async () => {
      const now = await client.progress(workflowId);
      for (const line of now ? progressLines(before, now) : []) note(line);
      before = now ?? before;
    };
    while (!ended && !detached) {
      await show();
      if (ended || detached) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, POLL_MS);
        wake = () => (clearTimeout(timer), resolve());
      });
    }
    if (detached) {
      note(
        `Detached: ${cluster} goes on. See \`tandem status ${cluster} --watch\`, end it with \`tandem cancel ${cluster}\`.`,
      );
      return;
    }
    await end;
    await show();
    await conclude(client, cluster, deployment, before, json);
  } finally {
    process.removeListener('SIGINT', detach);
  }
}

async function conclude(
  client: TandemClient,
  cluster: string,
  deployment: number,
  progress: OperationProgress | undefined,
  json: boolean | undefined,
): Promise<void> {
  const record = await concludedRecord(client, cluster, deployment);
  const entry = record.deployments.find((candidate) => candidate.deployment === deployment)!;
  print(
    { ...entry, cluster, router: record.serving ? { url: record.serving.router.url } : null },
    () => renderConclusion(entry, record, progress),
    json,
  );
  process.exitCode = entry.outcome === 'running' ? EXIT.failed : exitOf[entry.outcome];
}

/** The entity learns of the end a moment after the child's end. */
async function concludedRecord(client: TandemClient, cluster: string, deployment: number) {
  for (;;) {
    const record = await client.record(cluster);
    if (record.running?.deployment !== deployment) return record;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
