import { DeployError, type ErrorCode } from '../errors.ts';
import { targetOf, type ClusterRecord, type RunningOperation } from './record.ts';
import type { AdoptRequest, BreakRequest, By, OperationRequest } from './requests.ts';
import { wrongInAdoption, wrongInBreaking, wrongInBy, wrongInOperation } from './shapes.ts';

/** What a cluster's entity refuses, and why. Each throws what the one who asked is told; nothing gets into the history. */

export function admitOperation(request: OperationRequest, state: ClusterRecord): void {
  refuseShape(wrongInOperation(request));
  const { cluster, running, waiting } = state;
  refuseOther(cluster, request.spec?.name);
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

export function admitCancel(by: By, { cluster, running }: ClusterRecord): void {
  refuseShape(wrongInBy(by));
  if (running) return;
  throw refusal('NOTHING_RUNNING', `no operation runs on ${cluster}`, `See \`tandem status ${cluster}\`.`);
}

export function admitAdoption(request: AdoptRequest, state: ClusterRecord): void {
  refuseShape(wrongInAdoption(request));
  const { cluster, serving } = state;
  refuseOther(cluster, request.spec.name);
  if (state.running) throw operationRunning(state);
  refuseLate(request);
  if (!serving) return;
  throw refusal(
    'CHANGE_REFUSED',
    `the record of ${cluster} is not lost: deployment ${serving.deployment} serves, of installation ${state.installation}`,
    `See \`tandem status ${cluster}\`; \`tandem deploy FILE\` changes it.`,
  );
}

export function admitForget(by: By, state: ClusterRecord): void {
  refuseShape(wrongInBy(by));
  const { cluster, serving } = state;
  if (state.running) throw operationRunning(state);
  if (!serving && state.state !== 'stuck' && state.state !== 'degraded') return;
  throw refusal(
    'CHANGE_REFUSED',
    `${cluster} is ${state.state}: its engines would be left with nobody who knows of them`,
    `\`tandem destroy ${cluster}\` first.`,
  );
}

/** Leases of a cluster that is known here go with it: breaking them would let another cluster start beside its engines. */
export function admitBreaking(request: BreakRequest, state: ClusterRecord): void {
  refuseShape(wrongInBreaking(request));
  const { cluster, serving } = state;
  const strange = request.leases.find((lease) => lease.cluster !== cluster);
  refuseOther(cluster, strange?.cluster);
  if (state.running) throw operationRunning(state);
  refuseLate(request);
  if (!serving) return;
  throw refusal(
    'CHANGE_REFUSED',
    `${cluster} is known here and serves with deployment ${serving.deployment}`,
    `\`tandem destroy ${cluster}\` releases its leases.`,
  );
}

function refuseShape(wrong: string | undefined): void {
  if (wrong !== undefined)
    throw refusal('USAGE', wrong, 'Ask by a CLI of the same release as the Temporal worker (`tandem --version`).');
}

function refuseOther(cluster: string, named: string | undefined): void {
  if (named !== undefined && named !== cluster)
    throw refusal('USAGE', `this is the record of ${cluster}, and the request is about ${named}`, 'Ask the other one.');
}

function operationRunning({ cluster, running, waiting }: ClusterRecord): DeployError {
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

/** Something else acts on the cluster. */
export const otherRuns = (message: string, remedy: string): DeployError =>
  refusal('OPERATION_RUNNING', message, remedy);

/** A request that was sent while no Temporal worker ran is delivered later: nobody expects it any more. */
function refuseLate({ notAfter }: { readonly notAfter: string }): void {
  if (Date.now() <= Date.parse(notAfter)) return;
  throw refusal(
    'OPERATION_LATE',
    `the request was valid until ${notAfter} and arrived later; nothing was done`,
    'Ask again.',
  );
}

const refusal = (code: ErrorCode, message: string, remedy: string): DeployError =>
  new DeployError({ code, message, remedy, retryable: false });
