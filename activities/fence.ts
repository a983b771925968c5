import { ApplicationFailure } from '@temporalio/common';
import { defaultPayloadConverter } from '@temporalio/common';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import { RUNS_HEADER, resetAmong, type RunMark } from '../workflows/fence.ts';
import type { FailureDetails } from './failure.ts';

/** Ends an activity before it begins where its workflow, or one above, was reset: what had been done is not done again. */
export const resetFence: ActivityInterceptorsFactory = ({ info }) => ({
  inbound: {
    async execute(input, next) {
      const header = input.headers[RUNS_HEADER];
      const marks = header ? defaultPayloadConverter.fromPayload<readonly RunMark[]>(header) : [];
      const reset = resetAmong(marks, info.workflowExecution?.runId ?? '');
      if (reset === undefined) return await next(input);
      throw ApplicationFailure.create({
        type: 'RESET',
        nonRetryable: true,
        message: `${reset} was reset in Temporal; nothing of it is done a second time`,
        details: [
          { remedy: 'Deploy or destroy again: that goes on from what the hosts show.' } satisfies FailureDetails,
        ],
      });
    },
  },
});
