import type { OperationInput } from '../../workflows/messages.ts';
import type { OperationResult } from '../../src/operations/outcomes.ts';
import { deploy } from '../../workflows/deploy.ts';

/**
 * What a made-up next release bundles whose deploy was rewritten: the new code has a new name, and the old one stays under
 * its own, as in a folder legacy/, for what began under it.
 */
export * from '../../workflows/index.ts';
export { default } from '../../workflows/index.ts';

export const deploy2 = async (input: OperationInput): Promise<OperationResult> => await deploy(input);
