import { describe, expect, it } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { readOperation } from '../../bench/history.ts';
import { payloadCodec } from '../../src/codec.ts';

/**
 * A history told in short: "+name" schedules what starts at once, "~name" what waits for "*3", the start of what event 3
 * scheduled; "-3" ends it, "!3" fails it for good, ">name" starts a child. Events are a second apart.
 */
async function eventsOf(steps: readonly string[], { input = {}, attempt = 1, from = 0 } = {}) {
  const payloads = await payloadCodec.encode([defaultPayloadConverter.toPayload(input)!]);
  return steps.flatMap((step, index): readonly object[] => {
    const at = { eventId: index + 1, eventTime: { seconds: from + index, nanos: 0 } };
    const name = step.slice(1);
    const scheduledEventId = Number(name);
    const scheduled = { ...at, activityTaskScheduledEventAttributes: { activityType: { name }, input: { payloads } } };
    const startOf = (id: number) => ({
      ...at,
      eventId: 100 + index,
      activityTaskStartedEventAttributes: { scheduledEventId: id, attempt },
    });
    switch (step[0]) {
      case '+':
        return [scheduled, startOf(at.eventId)];
      case '~':
        return [scheduled];
      case '*':
        return [startOf(scheduledEventId)];
      case '>':
        return [{ ...at, childWorkflowExecutionStartedEventAttributes: { workflowExecution: { workflowId: name } } }];
      case '!':
        return [{ ...at, activityTaskFailedEventAttributes: { scheduledEventId } }];
      default:
        return [{ ...at, activityTaskCompletedEventAttributes: { scheduledEventId } }];
    }
  });
}

async function readAll(histories: Readonly<Record<string, Awaited<ReturnType<typeof eventsOf>>>>) {
  const getHandle = (workflowId: string) => ({
    fetchHistory: async () => ({ events: histories[workflowId] }),
    describe: async () => ({ historySize: 4096 }),
  });
  return await readOperation({ workflow: { getHandle } } as unknown as Client, 'deploy/a/1');
}

const read = async (steps: readonly string[], input: unknown = {}, attempt = 1) =>
  await readAll({ 'deploy/a/1': await eventsOf(steps, { input: input as object, attempt }) });

const shape = ({ groups }: Awaited<ReturnType<typeof read>>) =>
  groups.map(({ limit, calls }) => `${limit}: ${calls.map(({ activity }) => activity).join(' ')}`);

describe('the work of an operation, as its history tells it', () => {
  it('what ran one after the other is never run side by side', async () => {
    expect(shape(await read(['+round', '-1', '+round', '-3']))).toEqual(['1: round', '1: round']);
  });

  it('what ran side by side is one group, however its parts ended', async () => {
    expect(shape(await read(['+see', '+see', '-2', '-1', '+plan', '-5']))).toEqual(['2: see see', '1: plan']);
  });

  it('what waited for a free place in the Temporal worker did not run side by side', async () => {
    expect(shape(await read(['~see', '~see', '*1', '-1', '*2', '-2']))).toEqual(['1: see see']);
  });

  it('a fan-out is as wide as it was, not as long', async () => {
    expect(shape(await read(['+see', '+see', '-1', '+see', '-2', '-4']))).toEqual(['2: see see see']);
  });

  it('what batches of it did side by side is one group, and its longest history counts', async () => {
    const found = await readAll({
      'deploy/a/1': await eventsOf(['+plan', '-1', '>one', '>two']),
      one: await eventsOf(['+see', '+see', '-1', '-2', '+round', '-5'], { from: 10 }),
      two: await eventsOf(['+see', '-1'], { from: 11 }),
    });
    expect(shape(found)).toEqual(['1: plan', '3: see see see', '1: round']);
    expect(found).toMatchObject({ events: 9, bytes: 3 * 4096 });
  });

  it('a failed activity has ended too', async () => {
    expect(shape(await read(['+see', '!1', '+undo', '-3']))).toEqual(['1: see', '1: undo']);
  });

  it('inputs are those that the activity got, compressed ones too', async () => {
    const input = { text: 'x'.repeat(100_000) };
    const { groups } = await read(['+see', '-1'], input);
    expect(groups[0]?.calls[0]?.input).toEqual([input]);
  });

  it('attempts beyond the first are counted', async () => {
    expect((await read(['+see', '-1'], {}, 1)).retries).toBe(0);
    expect((await read(['+see', '-1'], {}, 3)).retries).toBe(2);
  });

  it('an activity lasts from its first schedule to its last end', async () => {
    expect((await read(['+see', '+see', '-2', '-1'])).seconds).toEqual({ see: 3 });
  });
});
