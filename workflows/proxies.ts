import { proxyActivities, type ActivityOptions } from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import type { TemporalActivities } from '../activities/temporal.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { isHandedOn, located } from './failed.ts';
import { activityQueue, readQueue, WORKFLOW_QUEUE } from '../src/operations/names.ts';
import { HEARTBEAT_SECONDS } from './stages.ts';

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
  /** A person waits for the answer: it has a queue of its own, and somebody must take it soon. */
  readonly reads?: true;
}

/** The activities of a site, bound to what is done, for the UI, and how long it may take. */
export type Act = (options: { readonly summary: string; readonly minutes?: number }) => Activities;

/**
 * The activities of a site. All of them heartbeat, and a cancelled one is waited for: an undo must not run beside
 * the command that it undoes.
 */
export function activitiesAt({ site, hosts, reads }: Reach): Act {
  return ({ summary, minutes = 5 }) =>
    locating({
      ...COMMON,
      taskQueue: reads ? readQueue(site) : activityQueue(site),
      ...(reads ? { scheduleToStartTimeout: READ_TAKEN } : {}),
      summary,
      startToCloseTimeout: `${minutes} minutes`,
      retry: {
        initialInterval: `${FIRST_RETRY_S} seconds`,
        maximumInterval: `${LONGEST_RETRY_S} seconds`,
        maximumAttempts: attemptsWithin(hosts.ssh.retrySeconds),
      },
    });
}

/** Activities whose failures know their host; one that a stopping Temporal worker hands on is asked for again. */
function locating(options: ActivityOptions): Activities {
  const proxies = proxyActivities<Record<string, (input: unknown) => Promise<unknown>>>(options);
  const call = async (name: string, input: unknown): Promise<unknown> => {
    for (;;) {
      try {
        return await proxies[name]!(input);
      } catch (error) {
        if (!isHandedOn(error)) throw located(error, input);
      }
    }
  };
  return new Proxy({} as Activities, { get: (_, name: string) => (input: unknown) => call(name, input) });
}

/** How long a read may wait for a Temporal worker: it has a queue of its own, so nobody who is there is that busy. */
const READ_TAKEN = '30 seconds';
const PRESENCE_TAKEN = '8 seconds';

/** The activity that only shows that a Temporal worker of the site is there, also a busy one. */
export const presenceAt = (site: string): Pick<Activities, 'present'> =>
  proxyActivities<Activities>({
    ...COMMON,
    taskQueue: readQueue(site),
    summary: `a Temporal worker of site ${site}`,
    startToCloseTimeout: '10 seconds',
    scheduleToStartTimeout: PRESENCE_TAKEN,
    retry: { maximumAttempts: 3 },
  });

/** Activities that ask Temporal itself: any Temporal worker does them. `minutes` is how long one may take. */
export const temporalWithin = (minutes: number, summary: string): TemporalActivities =>
  proxyActivities<TemporalActivities>({
    ...COMMON,
    taskQueue: WORKFLOW_QUEUE,
    summary,
    startToCloseTimeout: `${minutes} minutes`,
    retry: { initialInterval: '1 second', maximumInterval: '10 seconds' },
  });

const COMMON = {
  heartbeatTimeout: `${HEARTBEAT_SECONDS} seconds`,
  cancellationType: 'WAIT_CANCELLATION_COMPLETED',
} as const satisfies ActivityOptions;
