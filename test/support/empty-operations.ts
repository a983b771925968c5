import type { OperationInput } from '../../workflows/messages.ts';
import type { OperationResult } from '../../src/operations/outcomes.ts';

/** The real entity with operations that do nothing: for what the entity does over thousands of them. */
export { cluster } from '../../workflows/cluster.ts';

export async function deploy({ serving }: OperationInput): Promise<OperationResult> {
  return { outcome: 'succeeded', serving };
}
