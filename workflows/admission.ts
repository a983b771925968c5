import type { ApplicationFailure } from '@temporalio/workflow';
import { refusal } from './failed.ts';
import type { AdoptRequest, ClusterRecord, OperationRequest, RunningOperation } from './messages.ts';
import { targetOf } from './record.ts';

/** What a cluster's entity refuses, and why. Each throws what the one who asked is told; nothing gets into the history. */

export function admitOperation(request: OperationRequest, state: ClusterRecord): void {
  const { cluster, running, waiting } = state;
  if (running && (!request.takeOver || waiting)) throw operationRunning(state);
  refuseLate(request);
  if (!targetOf(request, state)) {
    throw refusal(
      'CLUSTER_UNKNOWN',
      `nothing is known of a cluster ${cluster}`,
      'Deploy it first, or give its spec: `tandem destroy NAME --spec FILE`.',
    );
  }
}

export function admitCancel({ cluster, running }: ClusterRecord): void {
  if (running) return;
  throw refusal('OPERATION_RUNNING', `no operation runs on ${cluster}`, `See \`tandem status ${cluster}\`.`);
}

export function admitAdoption(request: AdoptRequest, state: ClusterRecord): void {
  const { cluster, serving } = state;
  if (state.running) throw operationRunning(state);
  refuseLate(request);
  if (!serving) return;
  throw refusal(
    'CHANGE_REFUSED',
    `the record of ${cluster} is not lost: deployment ${serving.deployment} serves, of installation ${state.installation}`,
    `See \`tandem status ${cluster}\`; \`tandem deploy FILE\` changes it.`,
  );
}

export function admitForget(state: ClusterRecord): void {
  const { cluster, serving } = state;
  if (state.running) throw operationRunning(state);
  if (!serving && state.state !== 'stuck' && state.state !== 'degraded') return;
  throw refusal(
    'CHANGE_REFUSED',
    `${cluster} is ${state.state}: its engines would be left with nobody who knows of them`,
    `\`tandem destroy ${cluster}\` first.`,
  );
}

function operationRunning({ cluster, running, waiting }: ClusterRecord): ApplicationFailure {
  const of = ({ operation, deployment, by, since }: RunningOperation, verb: string) =>
    `${operation} (deployment ${deployment}) of ${cluster} ${verb} since ${since}, by ${by}`;
  return waiting
    ? refusal(
        'OPERATION_RUNNING',
        `${of(running!, 'runs')}; ${of(waiting, 'waits to take over')}`,
        `Wait for it (\`tandem status ${cluster} --watch\`), or drop the waiting one (\`tandem cancel ${cluster}\`).`,
      )
    : refusal(
        'OPERATION_RUNNING',
        of(running!, 'runs'),
        `Wait for it (\`tandem status ${cluster} --watch\`), end it (\`tandem cancel ${cluster}\`), or go on from where it is (\`--take-over\`).`,
      );
}

/** A request that was sent while no Temporal worker ran is delivered later: nobody expects it any more. */
function refuseLate({ notAfter }: { readonly notAfter: string }): void {
  if (Date.now() <= Date.parse(notAfter)) return;
  throw refusal(
    'OPERATION_LATE',
    `the request was valid until ${notAfter} and arrived later; nothing was done`,
    'Ask again.',
  );
}
