import { clusterWorkflowId } from '../operations/names.ts';
import type { Health } from '../operations/questions.ts';
import { type ClusterRecord, emptyRecord, targetOf } from '../operations/record.ts';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import type { Standstill } from '../standstill.ts';

/** How long a look at a cluster may take, in milliseconds: a person waits for it. */
const LOOK_MS = 10_000;

/** What of a cluster is seen beside its record. */
export interface Seen {
  /** Undefined where nothing serves, or where it could not be learned. */
  readonly health?: Health;
  readonly stage: string;
  readonly standstill?: Standstill;
  /** What could not be learned, and why. */
  readonly unknown: readonly string[];
}

/** The record of a cluster and what is seen beside it; where nobody can read the record, an empty one and why. */
export async function seenCluster(
  client: TandemClient,
  name: string,
): Promise<{ readonly record: ClusterRecord; readonly seen: Seen }> {
  try {
    const record = await client.record(name);
    return { record, seen: await lookAt(client, record) };
  } catch (error) {
    if (!(error instanceof DeployError) || error.code !== 'BLOCKED') throw error;
    const { message: why, remedy } = error;
    const standstill = (await client.standstill(name, clusterWorkflowId(name))) ?? {
      kind: 'blocked',
      since: new Date().toISOString(),
      why,
      remedy,
    };
    return { record: emptyRecord(name, ''), seen: { stage: '', standstill, unknown: ['its record'] } };
  }
}

/** Looks at what serves and what runs; ends in its time, and names what it could not learn by then. */
async function lookAt(client: TandemClient, record: ClusterRecord): Promise<Seen> {
  const unknown: string[] = [];
  const learned = async <T>(what: string, ask: Promise<T>): Promise<T | undefined> => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${LOOK_MS / 1000} s`)), LOOK_MS);
    });
    try {
      return await Promise.race([ask, late]);
    } catch (error) {
      unknown.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  };
  const { running, serving } = record;
  const spec = targetOf({}, record)?.spec;
  const [progress, standstill, health] = await Promise.all([
    running ? learned('progress', client.progress(running.workflowId)) : undefined,
    running ? learned('whether it goes on', client.standstill(record.cluster, running.workflowId)) : undefined,
    serving && spec ? learned('health', client.ask<Health>('health', [{ serving, spec }])) : undefined,
  ]);
  return {
    stage: progress?.stage ?? '',
    unknown,
    ...(standstill ? { standstill } : {}),
    ...(health ? { health } : {}),
  };
}
