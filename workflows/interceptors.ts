import { defaultPayloadConverter, type Headers } from '@temporalio/common';
import { workflowInfo, type WorkflowInterceptorsFactory } from '@temporalio/workflow';
import { RUNS_HEADER, type RunMark } from './fence.ts';

/**
 * Marks every activity with the runs that asked for it, its own workflow's first and those of the operations above: a
 * reset run goes on from the past of another one, which only its run id and its original run id tell apart. What they
 * show is judged where an activity begins, since a workflow that branched on it could not be replayed.
 */
export const interceptors: WorkflowInterceptorsFactory = () => {
  let above: readonly RunMark[] = [];
  const marked = (headers: Headers): Headers => {
    const { workflowId, runId, originalExecutionRunId: original } = workflowInfo();
    const marks: readonly RunMark[] = [{ workflowId, runId, original }, ...above];
    return { ...headers, [RUNS_HEADER]: defaultPayloadConverter.toPayload(marks) };
  };
  // The entity's own runs are no operation's: it may be reset, and what it starts then is as good as ever.
  const isEntity = () => workflowInfo().workflowType === 'cluster';
  return {
    inbound: [
      {
        async execute(input, next) {
          const header = input.headers[RUNS_HEADER];
          if (header) above = defaultPayloadConverter.fromPayload<readonly RunMark[]>(header);
          return await next(input);
        },
      },
    ],
    outbound: [
      {
        async scheduleActivity(input, next) {
          return await next(isEntity() ? input : { ...input, headers: marked(input.headers) });
        },
        async startChildWorkflowExecution(input, next) {
          return await next(isEntity() ? input : { ...input, headers: marked(input.headers) });
        },
      },
    ],
  };
};
