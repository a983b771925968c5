import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Connection, Client } from '@temporalio/client';
import type proto from '@temporalio/proto';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { some } from '../support/choice.ts';
import { patient, STILL_MS } from '../support/patience.ts';
import { eventually, until } from '../support/processes.ts';
import { startStack, stackSpec, type Stack } from '../support/stack.ts';
import type { StackProcess } from '../support/temporal-stack.ts';

/**
 * One of two Temporal workers is told to stop, as at every release of Tandem: it ends well and soon, and the other one goes
 * on with what it did, where it was.
 */
const spec = stackSpec(61);
let stack: Stack;
let connection: Connection;
let temporal: Client;
beforeAll(async () => {
  stack = await startStack({ spec, scenario: { countAll: true } });
  await stack.secondWorker.start();
  connection = await Connection.connect({ address: stack.address });
  temporal = new Client({ connection });
});
afterAll(async () => {
  await connection?.close();
  await stack?.stop();
});

/** A copy takes a while; so do the requests of acceptance. */
const COPY = /^cp -- \S+\/model-00001-of-00002\.safetensors /;
const SLOW = [{ match: COPY.source, host: 'd0', does: 'answersLate' as const, afterMs: 8_000 }];
const slow: ClusterSpec = { ...spec, acceptance: { ...spec.acceptance, requests: 300, outputTokens: 16 } };

const copiesOf = (host: string) => stack.simulation.host(host).calls.filter((argv) => COPY.test(argv.join(' '))).length;

/** The Temporal worker that has an activity under way. */
async function workerOf(activity: string, { workflowId }: Admitted): Promise<StackProcess> {
  const look = async () => {
    const found = await temporal.workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => undefined); // Its entity is about to start it.
    const pending = found?.raw.pendingActivities?.find(
      ({ activityType, state }) => activityType?.name === activity && state === 2,
    );
    const identity = pending?.lastWorkerIdentity ?? '';
    return [stack.worker, stack.secondWorker].find(({ pid }) => identity.includes(` ${pid}@`));
  };
  return await eventually(look, { what: `${activity} is under way`, limitMs: STILL_MS, everyMs: 50 });
}

/** When and as which attempt each carrying out of an activity began, oldest first. */
async function startsOf(activity: string, { workflowId }: Admitted) {
  const { events } = await temporal.workflow.getHandle(workflowId).fetchHistory();
  const scheduled = new Set(
    events!
      .filter(({ activityTaskScheduledEventAttributes: one }) => one?.activityType?.name === activity)
      .map(({ eventId }) => String(eventId)),
  );
  return events!.flatMap(({ eventTime, activityTaskStartedEventAttributes: one }) =>
    one && scheduled.has(String(one.scheduledEventId)) ? [{ atMs: msOf(eventTime), attempt: one.attempt ?? 0 }] : [],
  );
}

const msOf = (at: proto.google.protobuf.ITimestamp | null | undefined) =>
  Number(at?.seconds ?? 0) * 1000 + (at?.nanos ?? 0) / 1e6;

describe('SIGTERM of one of two Temporal workers', () => {
  it.each(some(['stageWeights', 'acceptRouted'], 2))(
    'in %s: it ends with exit code 0, and the other goes on',
    async (activity) => {
      await stack.simulation.setFaults(SLOW);
      const own = { ...slow, name: activity.toLowerCase(), model: { ...slow.model, dir: `~/models-${activity}` } };
      const counts = stack.simulation.counts();
      const copies = copiesOf('d0');
      const admitted = await stack.begin(own);
      if (activity === 'stageWeights')
        await until('a copy has begun', () => copiesOf('d0') > copies, { limitMs: STILL_MS });
      const stopping = await workerOf(activity, admitted);
      const signalledMs = Date.now();
      await stopping.end();
      expect(stopping.exitCode).toBe(0);
      expect(await stack.ended(own.name, admitted)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });

      // Handed on and not tried again: each carrying out is a first attempt, the next soon after the signal.
      const starts = await startsOf(activity, admitted);
      expect(new Set(starts.map(({ attempt }) => attempt))).toEqual(new Set([1]));
      const next = starts.find(({ atMs }) => atMs >= signalledMs)!;
      expect(next.atMs - signalledMs).toBeLessThan(patient(5_000));
      expect(copiesOf('d0') - copies).toBe(1);
      for (const host of ['p0', 'd0', 'd1'])
        expect(stack.simulation.counts()[host]!.enginesStarted - counts[host]!.enginesStarted).toBe(1);

      await stopping.start();
      await stack.simulation.setFaults([]);
      expect(await stack.run(own, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    },
  );
});
