import type { Connection } from '@temporalio/client';
import proto from '@temporalio/proto';
import Long from 'long';
import { ATTRIBUTES } from '../workflows/attributes.ts';
import { DeployError } from './errors.ts';

const { temporal } = proto;

/** How long closed operations stay in the list, in days: the audit. */
export const RETENTION_DAYS = 90;

/** Keeps closed workflows for 90 days and registers the search attributes; doing it again changes nothing. */
export async function ensureNamespace(connection: Connection, namespace: string): Promise<void> {
  await connection.workflowService.updateNamespace({
    namespace,
    config: { workflowExecutionRetentionTtl: { seconds: Long.fromNumber(RETENTION_DAYS * 86_400) } },
  });
  await ensureSearchAttributes(connection, namespace);
}

/**
 * Registers the search attributes that are missing. An unregistered one would hold an operation for ever, so a
 * Temporal worker does not start without them. Errors: TEMPORAL_UNREACHABLE with the command for the administrator.
 */
export async function ensureSearchAttributes(connection: Connection, namespace: string): Promise<void> {
  const missing = await missingSearchAttributes(connection, namespace);
  if (missing.length === 0) return;
  const searchAttributes = Object.fromEntries(missing.map(({ name, type }) => [name, TYPES[type]]));
  await connection.operatorService.addSearchAttributes({ namespace, searchAttributes }).catch((cause: unknown) => {
    throw new DeployError({
      code: 'TEMPORAL_UNREACHABLE',
      message: `namespace ${namespace} lacks the search attributes ${missing.map(({ name }) => name).join(', ')}, and this client may not add them`,
      remedy: missing
        .map(
          ({ name, type }) =>
            `temporal operator search-attribute create --namespace ${namespace} --name ${name} --type ${type === 'INT' ? 'Int' : 'Keyword'}`,
        )
        .join('\n'),
      retryable: false,
      cause,
    });
  });
}

export async function missingSearchAttributes(
  connection: Connection,
  namespace: string,
): Promise<readonly { readonly name: string; readonly type: 'KEYWORD' | 'INT' }[]> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  return Object.values(ATTRIBUTES).filter(({ name }) => !(name in (customAttributes ?? {}))) as {
    name: string;
    type: 'KEYWORD' | 'INT';
  }[];
}

const TYPES = {
  KEYWORD: temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
  INT: temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_INT,
} as const;
