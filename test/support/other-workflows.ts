import { proxyActivities, sleep, upsertSearchAttributes } from '@temporalio/workflow';
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
  else {
    // Text that no codec makes shorter.
    const words = Array.from({ length: 400_000 }, () => Math.random().toString(36).slice(2));
    await proxyActivities<{ present(input: string): Promise<void> }>({
      taskQueue: 'tandem-memory',
      startToCloseTimeout: '1 minute',
    }).present(words.join(''));
  }
  await sleep('1 hour');
}
