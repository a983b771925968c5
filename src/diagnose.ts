import type { Connection } from '@temporalio/client';
import { activityQueue, WORKFLOW_QUEUE } from './operations/names.ts';
import type { Finding } from './checks/check.ts';
import type { ConnectionSettings } from './connection.ts';
import { missingSearchAttributes, RETENTION_DAYS } from './temporal-setup.ts';

/** Who answered a probe: nobody, a Temporal worker that only carries out workflows, or one of the site too. */
export type Present = 'nobody' | 'workflows' | 'site';

/** Whether the Temporal server has what Tandem needs, and Temporal workers serve workflows and this site. */
export async function diagnose(
  connection: Connection,
  { namespace, origin }: ConnectionSettings,
  site: string,
  present: () => Promise<Present>,
): Promise<readonly Finding[]> {
  const at = { host: origin };
  const missing = await missingSearchAttributes(connection, namespace);
  const days = await retentionDays(connection, namespace);
  const who = await present();
  const served = (queue: string, is: boolean): Finding =>
    is
      ? { ...at, check: 'temporal-worker', verdict: 'pass', evidence: `one answers on queue ${queue}` }
      : {
          ...at,
          check: 'temporal-worker',
          verdict: 'fail',
          evidence: `nobody answers on queue ${queue}`,
          remedy: `Start one: \`tandem worker --site ${site}\`.`,
        };
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
    days >= RETENTION_DAYS
      ? {
          ...at,
          check: 'retention',
          verdict: 'pass',
          evidence: `namespace ${namespace} keeps history for ${days} days`,
        }
      : {
          ...at,
          check: 'retention',
          verdict: 'warn',
          evidence: `namespace ${namespace} keeps the history of ended operations for ${days} days, wanted ${RETENTION_DAYS}: the audit ends there`,
          remedy: `\`temporal operator namespace update --namespace ${namespace} --retention ${RETENTION_DAYS}d\``,
        },
    served(WORKFLOW_QUEUE, who !== 'nobody'),
    served(activityQueue(site), who === 'site'),
  ];
}

async function retentionDays(connection: Connection, namespace: string): Promise<number> {
  const { config } = await connection.workflowService.describeNamespace({ namespace });
  return Math.round((Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) / 86_400) * 10) / 10;
}
