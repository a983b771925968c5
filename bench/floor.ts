import { readFile, writeFile } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { createActivities, type Activities } from '../activities/index.ts';
import { createDrivers } from '../src/drivers/index.ts';
import { each } from '../src/saga/saga.ts';
import type { Group } from './history.ts';
import { cpuSeconds, masters, peakMemory } from './process.ts';

/**
 * The floor: `floor.js GROUPS RESULT` runs the recorded calls of an operation over the product's own activities and
 * ssh drivers in one process, in the same order and fan-out, without Temporal. It is a process of its own, as the
 * Temporal worker is, so that neither starts with open connections.
 */
export interface FloorResult {
  readonly seconds: number;
  readonly masters: number;
  readonly memoryMiB: number;
  readonly cpuSeconds: number;
  /** Attempts beyond the first, as the product makes them. */
  readonly retries: number;
  /** Seconds of each activity's groups, by activity. */
  readonly byActivity: Readonly<Record<string, number>>;
}

const [groupsFile, resultFile] = process.argv.slice(2);
const groups = JSON.parse(await readFile(groupsFile!, 'utf8')) as readonly Group[];
const drivers = createDrivers();
const activities = createActivities(drivers, (text) => text);
const byActivity: Record<string, number> = {};
let retries = 0;
const cpu = await cpuSeconds(process.pid);
const begun = performance.now();
for (const { limit, calls } of groups) {
  const from = performance.now();
  await each(calls, limit, async ({ activity, input }) => {
    const run = activities[activity as keyof Activities] as (...args: readonly unknown[]) => Promise<unknown>;
    await insisting(() => run(...input));
  });
  for (const name of new Set(calls.map(({ activity }) => activity))) {
    byActivity[name] = (byActivity[name] ?? 0) + (performance.now() - from) / 1000;
  }
}
const seconds = (performance.now() - begun) / 1000;
const result: FloorResult = {
  seconds,
  masters: await masters(process.pid),
  memoryMiB: await peakMemory(process.pid),
  cpuSeconds: (await cpuSeconds(process.pid)) - cpu,
  retries,
  byActivity,
};
await writeFile(resultFile!, JSON.stringify(result));
await drivers.close();

/** Tries again what may pass by itself, as often and as soon as the product does. */
async function insisting(run: () => Promise<unknown>): Promise<void> {
  for (let [attempt, pause] = [1, 1]; ; attempt += 1, pause = Math.min(pause * 2, 15)) {
    try {
      await run();
      return;
    } catch (error) {
      const final = !(error instanceof ApplicationFailure) || error.nonRetryable;
      if (final || attempt >= 24) throw error;
      retries += 1;
      await sleep(pause * 1000);
    }
  }
}
