import { hostname } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createActivities } from '../activities/index.ts';
import { activityQueue, WORKFLOW_QUEUE } from '../workflows/messages.ts';
import { report } from './cli/output.ts';
import { connectionSettings, dataConverter, temporalUnreachable } from './connection.ts';
import { createDrivers } from './drivers/index.ts';
import { redact } from './drivers/secrets.ts';
import { DeployError } from './errors.ts';
import { ensureSearchAttributes } from './temporal-setup.ts';
import { printable, type Redact } from './text/printable.ts';

/** The Temporal worker: composes drivers, activities and workflows, and runs until a signal. Nobody imports it. */

/** Activities at a time; each is mostly waiting for a host. */
const ACTIVITIES_AT_ONCE = 100;
/** How long running activities get after a signal; what is not done by then is retried by another worker. */
const SHUTDOWN_GRACE = '20 seconds';

const { values } = parseArgs({ options: { site: { type: 'string', default: 'default' } } });

Runtime.install({ logger: new DefaultLogger('WARN') });

await work().catch((error: unknown) => {
  if (!(error instanceof DeployError)) throw error;
  report(error, false);
  process.exit();
});

async function work(): Promise<void> {
  const settings = connectionSettings();
  const client = await Connection.connect(settings.connectionOptions).catch((cause: unknown) => {
    throw temporalUnreachable(settings.origin, cause);
  });
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
  } as const;
  const workers = await Promise.all([
    Worker.create({
      ...common,
      taskQueue: WORKFLOW_QUEUE,
      workflowBundle: { codePath: fileURLToPath(new URL('../workflow-bundle.js', import.meta.url)) },
    }),
    Worker.create({
      ...common,
      taskQueue: activityQueue(values.site),
      activities: createActivities(drivers, redacted),
      maxConcurrentActivityTaskExecutions: ACTIVITIES_AT_ONCE,
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
