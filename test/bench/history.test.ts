import { describe, expect, it } from '@jest/globals';
import type { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { readOperation } from '../../bench/history.ts';
import { payloadCodec } from '../../src/codec.ts';

/** A history told in short: "+name" schedules, "-3" ends what event 3 scheduled, "!3" fails it for good. */
async function read(steps: readonly string[], input: unknown = {}, attempt = 1) {
  const payloads = await payloadCodec.encode([defaultPayloadConverter.toPayload(input)!]);
  const events = steps.map((step, index) => {
    const at = { eventId: index + 1, eventTime: { seconds: index, nanos: 0 } };
    const scheduledEventId = Number(step.slice(1));
    if (step.startsWith('+'))
      return {
        ...at,
        activityTaskScheduledEventAttributes: { activityType: { name: step.slice(1) }, input: { payloads } },
      };
    if (step.startsWith('!')) return { ...at, activityTaskFailedEventAttributes: { scheduledEventId } };
    return { ...at, activityTaskCompletedEventAttributes: { scheduledEventId } };
  });
  const started = { eventId: 99, activityTaskStartedEventAttributes: { attempt } };
  const handle = {
    fetchHistory: async () => ({ events: [...events, started] }),
    describe: async () => ({ historySize: 4096 }),
  };
  return await readOperation({ workflow: { getHandle: () => handle } } as unknown as Client, 'deploy/a/1');
}

const shape = ({ groups }: Awaited<ReturnType<typeof read>>) =>
  groups.map(({ limit, calls }) => `${limit}: ${calls.map(({ activity }) => activity).join(' ')}`);

describe('the work of an operation, as its history tells it', () => {
  it('what ran one after the other is never run side by side', async () => {
    expect(shape(await read(['+round', '-1', '+round', '-3']))).toEqual(['1: round', '1: round']);
  });

  it('what ran side by side is one group, however its parts ended', async () => {
    expect(shape(await read(['+see', '+see', '-2', '-1', '+plan', '-5']))).toEqual(['2: see see', '1: plan']);
  });

  it('a fan-out is as wide as it was, not as long', async () => {
    expect(shape(await read(['+see', '+see', '-1', '+see', '-2', '-4']))).toEqual(['2: see see see']);
  });

  it('a failed activity has ended too', async () => {
    expect(shape(await read(['+see', '!1', '+undo', '-3']))).toEqual(['1: see', '1: undo']);
  });

  it('inputs are those that the activity got, compressed ones too', async () => {
    const input = { text: 'x'.repeat(100_000) };
    const { groups } = await read(['+see', '-1'], input);
    expect(groups[0]?.calls[0]?.input).toEqual([input]);
  });

  it('attempts beyond the first are counted: the floor does not repeat them', async () => {
    expect((await read(['+see', '-1'], {}, 1)).retries).toBe(0);
    expect((await read(['+see', '-1'], {}, 3)).retries).toBe(2);
  });

  it('an activity lasts from its first schedule to its last end', async () => {
    expect((await read(['+see', '+see', '-2', '-1'])).seconds).toEqual({ see: 3 });
  });
});
