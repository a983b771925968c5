import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { resetFence } from '../activities/fence.ts';
import { createActivities } from '../activities/index.ts';
import { createTemporalActivities } from '../activities/temporal.ts';
import { activityQueue, readQueue, WORKFLOW_QUEUE } from './operations/names.ts';
import { report } from './cli/output.ts';
import { connectionSettings, connectTemporal, dataConverter, type ConnectionSettings } from './connection.ts';
import { createDrivers } from './drivers/index.ts';
import { redact } from './drivers/secrets.ts';
import { DeployError } from './errors.ts';
import { temporalFailure } from './temporal-failure.ts';
import { ensureSearchAttributes } from './temporal-setup.ts';
import { printable, type Redact } from './text/printable.ts';

/** The Temporal worker: composes drivers, activities and workflows, and runs until a signal. Nobody imports it. */

/** Activities at a time; each is mostly waiting for a host. */
const ACTIVITIES_AT_ONCE = 100;
/** Looks that people wait for, also where all of the others are under way. */
const READS_AT_ONCE = 50;
/** How long running activities get after a signal; what is not done by then is retried by another worker. */
const SHUTDOWN_GRACE = '20 seconds';

/** A cancellation reaches an activity with the answer to a heartbeat, which the SDK would send once in twelve seconds. */
const HEARTBEATS_AT_MOST_EVERY = '2 seconds';

/**
 * Tells activities that can be resumed to end at once. Listening comes before the SDK does: a library that wants to
 * re-raise signals ends the process where it finds itself the only one that listens.
 */
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stopping.abort());

const { values } = parseArgs({ options: { site: { type: 'string', default: 'default' } } });

Runtime.install({ logger: new DefaultLogger('WARN') });

await work().catch((error: unknown) => {
  if (!(error instanceof DeployError)) throw error;
  report(error, false);
  process.exit();
});

async function work(): Promise<void> {
  const settings = connectionSettings();
  await serve(settings).catch((error: unknown) => {
    throw temporalFailure(error, settings);
  });
}

async function serve(settings: ConnectionSettings): Promise<void> {
  const client = await connectTemporal(settings);
  await ensureSearchAttributes(client, settings.namespace).finally(() => client.close());

  /** Every secret that this Temporal worker resolved: none of them leaves it in an error. */
  const secrets = new Set<string>();
  const redacted: Redact = (text) => redact(text, [...secrets]);
  const drivers = createDrivers({
    onSecret: (value) => secrets.add(value),
    onWarning: (message) => console.error(printable(message, redacted)),
  });
  const connection = await NativeConnection.connect(settings.connectionOptions);
  const common = {
    connection,
    namespace: settings.namespace,
    dataConverter,
    identity: `tandem ${values.site} ${process.pid}@${hostname()}`,
    shutdownGraceTime: SHUTDOWN_GRACE,
    maxHeartbeatThrottleInterval: HEARTBEATS_AT_MOST_EVERY,
  } as const;
  const site = {
    ...common,
    activities: createActivities(drivers, (text) => redact(text, [...secrets]), undefined, undefined, stopping.signal),
    interceptors: { activity: [resetFence] },
  };
  const workers = await Promise.all([
    Worker.create({
      ...common,
      taskQueue: WORKFLOW_QUEUE,
      workflowBundle: { codePath: fileURLToPath(new URL('../workflow-bundle.js', import.meta.url)) },
      activities: createTemporalActivities(),
    }),
    Worker.create({
      ...site,
      taskQueue: activityQueue(values.site),
      maxConcurrentActivityTaskExecutions: ACTIVITIES_AT_ONCE,
    }),
    Worker.create({
      ...site,
      taskQueue: readQueue(values.site),
      maxConcurrentActivityTaskExecutions: READS_AT_ONCE,
    }),
  ]);
  process.stderr.write(
    `Temporal worker of site ${values.site} at ${settings.origin}, namespace ${settings.namespace}\n`,
  );
  try {
    await Promise.all(workers.map((worker) => worker.run())); // Ends on SIGINT and SIGTERM, which the SDK listens for.
  } finally {
    await drivers.close();
    await connection.close();
  }
}
