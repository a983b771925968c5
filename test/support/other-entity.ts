import { sleep } from '@temporalio/workflow';

/** A made-up release whose entity cannot go on with what the one of today began. */
export { batch, default, deploy, destroy, health, presence } from '../../workflows/index.ts';

export async function cluster(): Promise<void> {
  await sleep('1 hour');
}
