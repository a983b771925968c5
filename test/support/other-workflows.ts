import { sleep, upsertSearchAttributes } from '@temporalio/workflow';
import type { OperationInput } from '../../workflows/messages.ts';

/** Workflow code of a made-up release that cannot go on with what the one of today began. */
export { batch, cluster, default } from '../../workflows/index.ts';

export async function deploy(): Promise<void> {
  await sleep('1 hour');
}

/** One whose next step no Temporal server takes: an attribute that is not registered, or a payload over its limit. */
export async function destroy({ spec }: OperationInput): Promise<void> {
  await sleep(1);
  if (spec.name.startsWith('attribute')) upsertSearchAttributes({ NobodyRegisteredThis: ['x'] });
  else await sleep(1, { summary: 'x'.repeat(5 * 1024 * 1024) });
  await sleep('1 hour');
}
