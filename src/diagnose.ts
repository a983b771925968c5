import type { Connection } from '@temporalio/client';
import proto from '@temporalio/proto';
import { activityQueue, WORKFLOW_QUEUE } from '../workflows/messages.ts';
import type { Finding } from './checks/check.ts';
import type { ConnectionSettings } from './connection.ts';
import { missingSearchAttributes } from './temporal-setup.ts';

const { TASK_QUEUE_TYPE_WORKFLOW, TASK_QUEUE_TYPE_ACTIVITY } = proto.temporal.api.enums.v1.TaskQueueType;

/** Whether the Temporal server has what Tandem needs, and Temporal workers poll the queues of this site. */
export async function diagnose(
  connection: Connection,
  { namespace, origin }: ConnectionSettings,
  site: string,
): Promise<readonly Finding[]> {
  const missing = await missingSearchAttributes(connection, namespace);
  const at = { host: origin };
  return [
    missing.length === 0
      ? { ...at, check: 'search-attributes', verdict: 'pass', evidence: `all are registered in namespace ${namespace}` }
      : {
          ...at,
          check: 'search-attributes',
          verdict: 'fail',
          evidence: `namespace ${namespace} lacks ${missing.map(({ name }) => name).join(', ')}`,
          remedy: 'Start `tandem worker` once with the right to add them.',
        },
    await poller(WORKFLOW_QUEUE, TASK_QUEUE_TYPE_WORKFLOW),
    await poller(activityQueue(site), TASK_QUEUE_TYPE_ACTIVITY),
  ];

  async function poller(queue: string, taskQueueType: number): Promise<Finding> {
    const { pollers } = await connection.workflowService.describeTaskQueue({
      namespace,
      taskQueue: { name: queue },
      taskQueueType,
    });
    const count = pollers?.length ?? 0;
    return count > 0
      ? { ...at, check: 'temporal-worker', verdict: 'pass', evidence: `${count} poll queue ${queue}` }
      : {
          ...at,
          check: 'temporal-worker',
          verdict: 'fail',
          evidence: `nobody polls queue ${queue}`,
          remedy: `Start one: \`tandem worker --site ${site}\`.`,
        };
  }
}
