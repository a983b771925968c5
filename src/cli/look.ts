import { targetOf } from '../../workflows/record.ts';
import type { ClusterRecord } from '../../workflows/messages.ts';
import type { Health } from '../../workflows/inspect.ts';
import type { Standstill, TandemClient } from '../client.ts';

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

/** Looks at what serves and what runs; ends in its time, and names what it could not learn by then. */
export async function lookAt(client: TandemClient, record: ClusterRecord): Promise<Seen> {
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
