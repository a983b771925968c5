import { randomUUID } from 'node:crypto';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import Long from 'long';

/** What an administrator does to workflows by the Temporal UI and the `temporal` command, past Tandem. */
export function buttonsOf({ client }: TestWorkflowEnvironment) {
  const { workflow } = client;
  const runOf = async (workflowId: string) => (await workflow.getHandle(workflowId).describe()).runId;
  /** Numbers of the events at which a run can be reset: its workflow tasks that ended. */
  const tasksOf = async (workflowId: string, runId: string): Promise<number[]> => {
    const { events } = await workflow.getHandle(workflowId, runId).fetchHistory();
    return (events ?? []).flatMap(({ eventId, workflowTaskCompletedEventAttributes: done }) =>
      done ? [Number(eventId)] : [],
    );
  };
  return {
    runOf,
    tasksOf,
    async terminate(workflowId: string): Promise<void> {
      await workflow.getHandle(workflowId).terminate('an administrator’s finger slipped');
    },
    /** Goes on, as a new run, from the past of a run up to one of its tasks. Returns the new run's id. */
    async reset(workflowId: string, runId: string, task: number): Promise<string> {
      const answer: { runId?: string } = await workflow.workflowService.resetWorkflowExecution({
        namespace: workflow.options.namespace,
        workflowExecution: { workflowId, runId },
        workflowTaskFinishEventId: Long.fromNumber(task),
        reason: 'to try again',
        requestId: randomUUID(),
      });
      return answer.runId!;
    },
    /** How each run of a workflow stands, oldest first. */
    async runs(workflowId: string): Promise<readonly { readonly runId: string; readonly status: string }[]> {
      const found = [];
      for await (const one of workflow.list({ query: `WorkflowId = '${workflowId}'` })) found.push(one);
      return found
        .toSorted((a, b) => a.startTime.getTime() - b.startTime.getTime())
        .map(({ runId, status }) => ({ runId, status: status.name }));
    },
  };
}
