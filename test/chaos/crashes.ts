import type { Stack } from '../support/stack.ts';
import type { StackProcess } from '../support/temporal-stack.ts';
import { processesWith } from '../support/processes.ts';
import type { CrashName } from './cases.ts';

/** How long something stays away before it comes back, in milliseconds. */
const AWAY_MS = 1_000;
/** Shorter than every limit of the product: an ssh connection is given up after 45 s without an answer. */
const SHORT_CUT_MS = 4_000;

/** Where a crash strikes. */
export interface Struck {
  readonly stack: Stack;
  /** Every simulated host of the stack. */
  readonly hosts: readonly string[];
  /** The host that reboots or whose network is cut. */
  readonly victim: string;
  /** The host on which the router of the case runs. */
  readonly routerHost: string;
  readonly random: () => number;
  /** Runs one at a time what touches a process that all cases of a round share. */
  readonly alone: <T>(act: () => Promise<T>) => Promise<T>;
}

export interface Crash {
  /** Resolves when the crash is over, except for what `heal` ends. False when there was nothing to strike. */
  readonly strike: (at: Struck) => Promise<boolean>;
  /** Brings back what is away until the operation has ended. */
  readonly heal?: (at: Struck) => void;
  /** Hosts on which what runs dies with it. */
  readonly kills: (at: Struck) => readonly string[];
  /** No host loses anything: the operation ends as if nothing had been. */
  readonly unfelt?: true;
}

const away = () => new Promise((resolve) => setTimeout(resolve, AWAY_MS));
const nobody = () => [];

async function restart(process: StackProcess): Promise<void> {
  await process.kill();
  await away();
  await process.start();
}

export const CRASH: Readonly<Record<CrashName, Crash>> = {
  'worker-of-two': {
    strike: async ({ stack, random, alone }) => {
      await alone(() => restart(random() < 0.5 ? stack.worker : stack.secondWorker));
      return true;
    },
    kills: nobody,
    unfelt: true,
  },
  'worker-alone': {
    strike: async ({ stack, alone }) => {
      await alone(() => restart(stack.worker));
      return true;
    },
    kills: nobody,
    unfelt: true,
  },
  server: {
    strike: async ({ stack, alone }) => {
      await alone(() => restart(stack.server));
      return true;
    },
    kills: nobody,
    unfelt: true,
  },
  sshd: {
    strike: async ({ stack, hosts, alone }) => {
      await alone(async () => {
        await Promise.all(hosts.map((host) => stack.simulation.host(host).stopSshd()));
        await away();
        await Promise.all(hosts.map((host) => stack.simulation.host(host).startSshd()));
      });
      return true;
    },
    kills: nobody,
  },
  router: {
    strike: async ({ stack, routerHost }) => {
      const own = new Set(await stack.simulation.host(routerHost).processes());
      // smg calls itself by another name once it runs.
      const pids = [...processesWith('launch_router'), ...processesWith('smg::router')].filter((pid) => own.has(pid));
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      return pids.length > 0;
    },
    kills: ({ routerHost }) => [routerHost],
  },
  reboot: {
    strike: async ({ stack, victim }) => {
      await stack.simulation.host(victim).stop();
      await away();
      await stack.simulation.host(victim).start();
      return true;
    },
    kills: ({ victim }) => [victim],
  },
  'cut-short': {
    strike: async ({ stack, victim }) => {
      stack.simulation.host(victim).cutNetwork();
      await new Promise((resolve) => setTimeout(resolve, SHORT_CUT_MS));
      stack.simulation.host(victim).mendNetwork();
      return true;
    },
    kills: nobody,
  },
  'cut-long': {
    strike: async ({ stack, victim }) => {
      stack.simulation.host(victim).cutNetwork();
      return true;
    },
    heal: ({ stack, victim }) => stack.simulation.host(victim).mendNetwork(),
    kills: nobody,
  },
};

/** Starts or ends the second Temporal worker, as a crash wants it. */
export async function withWorkers(stack: Stack, crash: CrashName): Promise<void> {
  const { secondWorker } = stack;
  if (crash === 'worker-of-two' && !secondWorker.running) await secondWorker.start();
  if (crash !== 'worker-of-two') await secondWorker.end();
}
