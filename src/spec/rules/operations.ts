import { didYouMean, nearest } from '../nearest.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** KV over TCP works, but slowly, and has hung on MI300X with engines that looked healthy (sgl-project/sglang 23342). */
export const slowTransport: Rule = function* ({ rdma }) {
  if (rdma.transport !== 'tcp') return;
  yield warning({
    path: ['rdma', 'transport'],
    message: 'tcp carries the KV cache slowly, and requests have hung so on MI300X (sgl-project/sglang 23342)',
    remedy: 'Set rdma.transport: rdma where the hosts have RDMA devices.',
  });
};

/** A waived check exists; only a caller that knows the checks can say. */
export const knownChecks: Rule = function* ({ checks }, { checkNames }) {
  if (!checkNames) return;
  for (const [i, { check }] of checks.waive.entries()) {
    if (checkNames.includes(check)) continue;
    const found = nearest(check, checkNames);
    yield error({
      path: ['checks', 'waive', i, 'check'],
      message: `no check is named "${check}"${didYouMean(check, checkNames)}`,
      remedy: found === undefined ? `The checks are ${checkNames.join(', ')}.` : `Write ${found}.`,
    });
  }
};

/** A rolling change moves only if an engine may be out, or one more may be started. */
export const movableUpgrade: Rule = function* ({ upgrade }) {
  for (const role of ROLES) {
    if (upgrade.maxUnavailable[role] > 0 || upgrade.surge > 0) continue;
    yield error({
      path: ['upgrade', 'maxUnavailable', role],
      message: `is 0 and upgrade.surge is 0, so no ${role} engine could ever be changed`,
      remedy: `Set upgrade.maxUnavailable.${role} or upgrade.surge to 1.`,
    });
  }
};

/** More requests at a time than there are would never be at a time. */
export const reachableConcurrency: Rule = function* ({ acceptance }) {
  if (acceptance.concurrency <= acceptance.requests) return;
  yield warning({
    path: ['acceptance', 'concurrency'],
    message: `is ${acceptance.concurrency}, more than the ${acceptance.requests} of acceptance.requests`,
    remedy: 'Raise acceptance.requests, or lower concurrency.',
  });
};
