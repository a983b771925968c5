import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { located } from './failed.ts';
import { activityQueue } from './messages.ts';

const FIRST_RETRY_S = 1;
const LONGEST_RETRY_S = 15;

/** Attempts that fill `seconds` of waiting between them: by attempts and not by a deadline, since a busy queue is no failure. */
export function attemptsWithin(seconds: number): number {
  let attempts = 1;
  for (let waited = 0, wait = FIRST_RETRY_S; waited + wait <= seconds; wait = Math.min(wait * 2, LONGEST_RETRY_S)) {
    waited += wait;
    attempts += 1;
  }
  return attempts;
}

/** What of a spec says where activities run and how patient they are. */
export interface Reach {
  readonly site: string;
  readonly hosts: { readonly ssh: Pick<ClusterSpec['hosts']['ssh'], 'retrySeconds'> };
}

/** The activities of a site, bound to what is done, for the UI, and how long it may take. */
export type Act = (options: { readonly summary: string; readonly minutes?: number }) => Activities;

/**
 * The activities of a site. All of them heartbeat, and a cancelled one is waited for: an undo must not run beside
 * the command that it undoes.
 */
export function activitiesAt({ site, hosts }: Reach): Act {
  return ({ summary, minutes = 5 }) =>
    locating({
      ...COMMON,
      taskQueue: activityQueue(site),
      summary,
      startToCloseTimeout: `${minutes} minutes`,
      retry: {
        initialInterval: `${FIRST_RETRY_S} seconds`,
        maximumInterval: `${LONGEST_RETRY_S} seconds`,
        maximumAttempts: attemptsWithin(hosts.ssh.retrySeconds),
      },
    });
}

/** Activities whose failures know their host. */
function locating(options: ActivityOptions): Activities {
  const proxies = proxyActivities<Record<string, (input: unknown) => Promise<unknown>>>(options);
  return new Proxy({} as Activities, {
    get: (_, name: string) => (input: unknown) =>
      proxies[name]!(input).catch((error: unknown) => Promise.reject(located(error, input))),
  });
}

/** The activity that only shows that a Temporal worker of the site is there. */
export const presenceAt = (site: string): Pick<Activities, 'present'> =>
  proxyActivities<Activities>({
    ...COMMON,
    taskQueue: activityQueue(site),
    summary: `a Temporal worker of site ${site}`,
    startToCloseTimeout: '10 seconds',
    scheduleToStartTimeout: '30 seconds',
    retry: { maximumAttempts: 3 },
  });

const COMMON = {
  heartbeatTimeout: '15 seconds',
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
} as const satisfies ActivityOptions;
