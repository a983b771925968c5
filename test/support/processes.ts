import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { LOOK_MS, STILL_MS } from './patience.ts';

export interface Patience {
  /** Only ends a test that has failed. Default: LOOK_MS. */
  readonly limitMs?: number;
  /** Pause between two looks; longer where a look costs more than reading a file. Default 20. */
  readonly everyMs?: number;
}

/** Waits for a condition; fails with its name when it does not come true. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  patience?: Patience,
): Promise<void> {
  await eventually(condition, { ...patience, what });
}

/** Waits until `look` gives something. */
export async function eventually<T>(
  look: () => Promise<T | undefined | false> | T | undefined | false,
  { limitMs = LOOK_MS, everyMs = 20, what = look.toString() }: Patience & { readonly what?: string } = {},
): Promise<T> {
  for (const end = performance.now() + limitMs; performance.now() < end; await delay(everyMs)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
  }
  throw new Error(`not within ${limitMs} ms: ${what}`);
}

/** What `work` comes to; fails with its name when it takes longer. */
export async function inTime<T>(what: string, limitMs: number, work: Promise<T>): Promise<T> {
  return await whileItGoesOn(what, work, () => undefined, { limitMs });
}

/** What `work` comes to, however long it takes; fails with its name when what `progress` shows stands still for too long. */
export async function whileItGoesOn<T>(
  what: string,
  work: Promise<T>,
  progress: () => unknown,
  { limitMs = STILL_MS, everyMs = 1_000 }: Patience = {},
): Promise<T> {
  const over = new AbortController();
  const stands = async (): Promise<never> => {
    let shown = '';
    for (let end = performance.now() + limitMs; performance.now() < end;) {
      await delay(Math.min(everyMs, limitMs), undefined, { signal: over.signal });
      const now = JSON.stringify(await progress()) ?? '';
      if (now !== shown) [shown, end] = [now, performance.now() + limitMs];
    }
    throw new Error(`nothing new for ${limitMs} ms: ${what}${shown && `, which showed ${shown}`}`);
  };
  const standing = stands();
  try {
    return await Promise.race([work, standing]);
  } finally {
    over.abort();
    await standing.catch(() => undefined); // A question that is under way would meet a closed connection.
  }
}

/** A process that runs; one that only waits for its parent to take its exit code does not. */
export function alive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

/** Pids of processes of which an argument holds all of these texts. */
export function processesWith(...texts: readonly string[]): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const line = textOf(`/proc/${pid}/cmdline`);
      return texts.every((text) => line.includes(text)) && alive(pid);
    });
}

export function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
