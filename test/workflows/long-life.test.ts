import { afterAll, beforeAll, expect, it } from '@jest/globals';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { createTemporalActivities } from '../../activities/temporal.ts';
import { connectClient, type TandemClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import { type ClusterRecord, RECORD_BUDGET } from '../../src/operations/record.ts';
import { EVERY_CASE } from '../support/choice.ts';
import { patient } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import { aSpec } from '../support/specs.ts';
import { startTemporal } from '../support/temporal.ts';
import { quickBundle } from '../support/workflow-bundle.ts';

const OPERATIONS = EVERY_CASE ? 2_000 : 50;
const SPEC_BYTES = 27 * 1024;
/** A history that is not continued in time ends a workflow at 51,200 events; an operation takes about 25. */
const EVENTS_MAX = 200;

let env: TestWorkflowEnvironment;
let client: TandemClient;
let worker: Worker;
let running: Promise<void>;

beforeAll(async () => {
  const bundle = await quickBundle('test/support/empty-operations.ts');
  env = await startTemporal();
  client = await connectClient({
    connectionOptions: { address: env.address },
    namespace: 'default',
    origin: env.address,
  });
  worker = await Worker.create({
    connection: env.nativeConnection,
    namespace: 'default',
    dataConverter,
    taskQueue: 'tandem',
    workflowBundle: bundle,
    activities: createTemporalActivities(),
  });
  running = worker.run();
});
afterAll(async () => {
  worker?.shutdown();
  await running;
  await client?.close();
  await env?.teardown();
});

/** The record once nothing runs: the entity learns of an operation's end a moment after it. */
async function idle(workflowId: string): Promise<ClusterRecord> {
  await client.settled(workflowId);
  return await eventually(async () => {
    const record = await client.record('old');
    return !record.running && record;
  });
}

it(
  `An entity over ${OPERATIONS} operations with a spec of 27 KiB each loses no deployment and no admitted operation, stays within its budget, and names the spec bodies it dropped`,
  async () => {
    const numbers: number[] = [];
    let last = '';
    for (let turn = 1; turn <= OPERATIONS; turn += 1) {
      const spec = aSpec({ name: 'old', engine: { env: { TURN: String(turn), FILLER: 'x'.repeat(SPEC_BYTES) } } });
      const request = { operation: 'deploy', spec, specDigest: specDigest(spec), actor: 'tester' } as const;
      // Every tenth is asked at once, also while the entity continues as new: refused or admitted, and never lost.
      if (turn % 10 !== 1) await idle(last);
      const admitted = await eventually(async () => {
        try {
          return await client.submit('old', request);
        } catch (error) {
          expect(error).toMatchObject({ code: 'OPERATION_RUNNING' });
        }
      });
      numbers.push(admitted.deployment);
      last = admitted.workflowId;
    }
    const record = await idle(last);

    expect(numbers).toEqual(Array.from({ length: OPERATIONS }, (_, index) => index + 1));
    expect(record.deployments.map(({ deployment }) => deployment)).toEqual(numbers);
    expect(record.deployments.every(({ outcome }) => outcome === 'succeeded')).toBe(true);
    expect(JSON.stringify(record).length).toBeLessThanOrEqual(RECORD_BUDGET);
    expect(Object.keys(record.specs).length + record.droppedSpecs.length).toBe(OPERATIONS);
    expect(Object.keys(record.specs).length).toBeGreaterThan(5); // The records of 2,000 leave room for nine.
    const { historyLength } = await env.client.workflow.getHandle('cluster/old').describe();
    expect(historyLength).toBeLessThan(EVENTS_MAX);
  },
  patient(OPERATIONS * 5_000),
);
