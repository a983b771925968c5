import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { payloadCodec } from '../src/codec.ts';

/** One activity of an operation with its input, as it stands in the history. */
export interface Call {
  readonly activity: string;
  readonly input: readonly unknown[];
}

/** Calls that began before all of them had ended; the next group began when they had. */
export interface Group {
  /** Most that were open at once: the bound of the fan-out. */
  readonly limit: number;
  readonly calls: readonly Call[];
}

export interface Recorded {
  readonly groups: readonly Group[];
  readonly events: number;
  readonly bytes: number;
  /** Attempts beyond the first, which the floor does not repeat. */
  readonly retries: number;
  /** Seconds from the first schedule to the last end, by activity. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** Reads from an operation's history what it did, in which order and how much at a time. */
export async function readOperation(client: Client, workflowId: string): Promise<Recorded> {
  const handle = client.workflow.getHandle(workflowId);
  const [{ events }, { historySize }] = await Promise.all([handle.fetchHistory(), handle.describe()]);
  const groups: { limit: number; calls: Call[] }[] = [];
  const names = new Map<string, string>();
  const open = new Set<string>();
  const spans = new Map<string, { from: number; to: number }>();
  let retries = 0;
  for (const event of events ?? []) {
    const at = Number(event.eventTime?.seconds ?? 0) + (event.eventTime?.nanos ?? 0) / 1e9;
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) {
      const activity = scheduled.activityType?.name ?? '';
      if (open.size === 0) groups.push({ limit: 0, calls: [] });
      const group = groups.at(-1)!;
      group.calls.push({ activity, input: await decoded(scheduled.input?.payloads ?? []) });
      open.add(String(event.eventId));
      group.limit = Math.max(group.limit, open.size);
      names.set(String(event.eventId), activity);
      const span = spans.get(activity);
      spans.set(activity, { from: span?.from ?? at, to: at });
    }
    retries += Math.max(0, (event.activityTaskStartedEventAttributes?.attempt ?? 1) - 1);
    const ended = event.activityTaskCompletedEventAttributes ?? event.activityTaskFailedEventAttributes;
    if (ended) {
      const id = String(ended.scheduledEventId);
      open.delete(id);
      spans.get(names.get(id)!)!.to = at;
    }
  }
  return {
    groups,
    events: events?.length ?? 0,
    bytes: historySize ?? 0,
    retries,
    seconds: Object.fromEntries([...spans].map(([name, { from, to }]) => [name, to - from])),
  };
}

async function decoded(payloads: readonly Payload[]): Promise<unknown[]> {
  const plain = await payloadCodec.decode([...payloads]);
  return plain.map((payload) => defaultPayloadConverter.fromPayload(payload));
}
