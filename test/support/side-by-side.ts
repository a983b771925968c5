import { setTimeout as delay } from 'node:timers/promises';
import pLimit from 'p-limit';
import { lateMs } from './memory-site.ts';

/** How late activities may begin while more cases do, in milliseconds; and the least time between the begins of two. */
const LATE_MS = 1_000;
const BETWEEN_MS = 100;

/**
 * Runs cases side by side, at most so many: the next begins while activities begin in time, or where no other case runs.
 * What a busy machine cannot do at once would meet time limits of the product, which are none of the case's.
 */
export function sideBySide(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  const limit = pLimit(most);
  let running = 0;
  let turn = Promise.resolve();
  const mayBegin = async () => {
    do await delay(BETWEEN_MS);
    while (running > 0 && lateMs() > LATE_MS);
    running += 1;
  };
  return (work) =>
    limit(async () => {
      await (turn = turn.then(mayBegin));
      try {
        return await work();
      } finally {
        running -= 1;
      }
    });
}
