import { fileURLToPath } from 'node:url';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import type { TandemClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { ATTRIBUTES } from '../../workflows/attributes.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { endedWithSuite } from './ends.ts';
import { STILL_MS } from './patience.ts';
import { eventually } from './processes.ts';

const TEMPORAL = fileURLToPath(new URL('../../.venv/bin/temporal', import.meta.url));
let installed = false;

/** A real Temporal dev server of this suite, with its search attributes, timers to the 10 ms, and the product's codec. */
export async function startTemporal(): Promise<TestWorkflowEnvironment> {
  if (!installed) Runtime.install({ logger: new DefaultLogger('ERROR') });
  installed = true;
  const env = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: TEMPORAL },
      log: { format: 'pretty', level: 'never' }, // It calls a refused Update an error.
      searchAttributes: Object.values(ATTRIBUTES),
      extraArgs: [
        'history.timerProcessorMaxTimeShift="10ms"',
        'system.forceSearchAttributesCacheRefreshOnRead=false', // They are there from the start: 8 % of its work.
      ].flatMap((value) => ['--dynamic-config-value', value]),
    },
    client: { dataConverter },
  });
  env.teardown = endedWithSuite(env.teardown.bind(env));
  return env;
}

/** Waits until an operation has ended and its cluster's entity knows, a moment later; what the record says of it then. */
export async function awaitRow(
  client: TandemClient,
  cluster: string,
  { deployment, workflowId }: Admitted,
): Promise<DeploymentRecord> {
  await client.settled(workflowId);
  return await eventually(
    async () => {
      const { running, deployments } = await client.record(cluster);
      return running?.deployment !== deployment && deployments.find((entry) => entry.deployment === deployment);
    },
    { limitMs: STILL_MS }, // One that was terminated is told when its activities are over: a heartbeat time-out later.
  );
}
