import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

export interface Patience {
  /** Only ends a test that has failed. Default 15,000. */
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
  { limitMs = 15_000, everyMs = 20, what = look.toString() }: Patience & { readonly what?: string } = {},
): Promise<T> {
  for (const endMs = Date.now() + limitMs; Date.now() < endMs; await delay(everyMs)) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
  }
  throw new Error(`not within ${limitMs} ms: ${what}`);
}

/** What `work` comes to; fails with its name when it takes longer. */
export async function inTime<T>(what: string, limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms: ${what}`)), limitMs);
  });
  return await Promise.race([work, late]).finally(() => clearTimeout(timer));
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
