import { expect, it } from '@jest/globals';
import { workflowBundle } from '../support/workflow-bundle.ts';

it('the workflow bundle holds neither zod nor yaml, which every Temporal worker would pay for', async () => {
  const { code } = await workflowBundle();
  expect(code).not.toMatch(/node_modules\/(zod|yaml)\//);
  expect(code.length).toBeLessThan(4_000_000);
});
