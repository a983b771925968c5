import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import type { temporal } from '@temporalio/proto';
import { payloadCodec } from '../src/codec.ts';

/** One activity of an operation with its input, as it stands in the history. */
export interface Call {
  readonly activity: string;
  readonly input: readonly unknown[];
}

/** Calls that began before all of them had ended; the next group began when they had. */
export interface Group {
  /** Most that ran at once: the bound of the fan-out, or of the Temporal worker. */
  readonly limit: number;
  readonly calls: readonly Call[];
}

export interface Recorded {
  readonly groups: readonly Group[];
  /** Of the longest history: a fan-out over many hosts has histories of its own. */
  readonly events: number;
  /** Of all histories. */
  readonly bytes: number;
  /** Attempts beyond the first. */
  readonly retries: number;
  /** Seconds from the first schedule to the last end, by activity. */
  readonly seconds: Readonly<Record<string, number>>;
}

/** Reads from the histories of an operation and of its batches what it did, in which order and how much at a time. */
export async function readOperation(client: Client, workflowId: string): Promise<Recorded> {
  const histories = await historiesOf(client, workflowId);
  const groups: { limit: number; calls: Call[] }[] = [];
  const names = new Map<string, string>();
  const open = new Set<string>();
  const running = new Set<string>();
  const spans = new Map<string, { from: number; to: number }>();
  let retries = 0;
  for (const { at, event, of } of eventsInOrder(histories)) {
    const scheduled = event.activityTaskScheduledEventAttributes;
    if (scheduled) {
      const activity = scheduled.activityType?.name ?? '';
      const id = idOf(of, event.eventId);
      if (open.size === 0) groups.push({ limit: 0, calls: [] });
      const group = groups.at(-1)!;
      group.calls.push({ activity, input: await decoded(scheduled.input?.payloads ?? []) });
      open.add(id);
      names.set(id, activity);
      spans.set(activity, { from: spans.get(activity)?.from ?? at, to: at });
    }
    const started = event.activityTaskStartedEventAttributes;
    if (started) {
      running.add(idOf(of, started.scheduledEventId));
      const group = groups.at(-1)!;
      group.limit = Math.max(group.limit, running.size);
      retries += Math.max(0, (started.attempt ?? 1) - 1);
    }
    const ended = event.activityTaskCompletedEventAttributes ?? event.activityTaskFailedEventAttributes;
    if (ended) {
      const id = idOf(of, ended.scheduledEventId);
      open.delete(id);
      running.delete(id);
      spans.get(names.get(id)!)!.to = at;
    }
  }
  return {
    groups,
    events: Math.max(...histories.map(({ events }) => events.length)),
    bytes: histories.reduce((sum, { bytes }) => sum + bytes, 0),
    retries,
    seconds: Object.fromEntries([...spans].map(([name, { from, to }]) => [name, to - from])),
  };
}

interface History {
  readonly workflowId: string;
  readonly events: readonly Event[];
  readonly bytes: number;
}
type Event = temporal.api.history.v1.IHistoryEvent;

async function historiesOf(client: Client, workflowId: string): Promise<readonly History[]> {
  const handle = client.workflow.getHandle(workflowId);
  const [{ events }, { historySize }] = await Promise.all([handle.fetchHistory(), handle.describe()]);
  const children = (events ?? []).flatMap(({ childWorkflowExecutionStartedEventAttributes: started }) =>
    started ? [started.workflowExecution!.workflowId!] : [],
  );
  const own: History = { workflowId, events: events ?? [], bytes: historySize ?? 0 };
  return [own, ...(await Promise.all(children.map((child) => historiesOf(client, child)))).flat()];
}

const eventsInOrder = (histories: readonly History[]) =>
  histories
    .flatMap(({ workflowId, events }) => events.map((event) => ({ of: workflowId, event, at: secondsOf(event) })))
    .toSorted((one, other) => one.at - other.at);

/** Numbers of events count anew in each history. */
const idOf = (workflowId: string, eventId: Event['eventId']): string => `${workflowId} ${String(eventId)}`;

const secondsOf = ({ eventTime }: Event): number => Number(eventTime?.seconds ?? 0) + (eventTime?.nanos ?? 0) / 1e9;

async function decoded(payloads: readonly Payload[]): Promise<unknown[]> {
  const plain = await payloadCodec.decode([...payloads]);
  return plain.map((payload) => defaultPayloadConverter.fromPayload(payload));
}
