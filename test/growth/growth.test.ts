import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import type { Hostile } from './hostile.ts';
import { PARSERS } from './parsers.ts';

// One host, spec or log that is hostile must not hold the Temporal worker, and with it every other cluster. So each module
// that matches text is given hostile ones of two sizes, and what takes more than twice as long as its input grew is red.
// CPU time is compared, since other processes are none of the parser's business.
const ROOT = join(import.meta.dirname, '../..');
const LARGE_BYTES = 32 * 1024;
const TIMES = 4;
/** A text that is over sooner than this at the larger size grows slowly enough, whatever its growth. */
const QUICK_MS = 8;
/** Red above twice linear. */
const MOST = 2;
/** What grows without bounds would never come to its end at the larger size, so it is tried with less before: bytes, and most ms. */
const BEFORE = [
  [24, 100],
  [1024, 200],
  [4096, 1000],
] as const;

/** Rooms where each file is asked, and others where those that match text are. The simulation reads only Tandem's own commands. */
const ALWAYS = /^src\/(?:facts|spec)\/(?:rules\/)?[^/]+\.ts$/;
const MATCHES = /JSON\.parse|\.split\(|\.matchAll\(|\.exec\(|\.test\(|parseDocument\(|\.search\(|ndexOf\(/;

const modules = ['src', 'activities', 'workflows']
  .flatMap((room) =>
    readdirSync(join(ROOT, room), { recursive: true, encoding: 'utf8' }).map((file) => join(room, file)),
  )
  .filter((file) => file.endsWith('.ts') && !file.startsWith('src/sim/'))
  .filter((file) => ALWAYS.test(file) || MATCHES.test(readFileSync(join(ROOT, file), 'utf8')))
  .toSorted();

interface Grown {
  readonly file: string;
  readonly title: string;
  readonly bytes: number;
  /** Of one text of the smaller size, and of one of the larger. */
  readonly smallMs: number;
  readonly largeMs: number;
  /** 1 for what grows with its input. */
  readonly ratio: number;
}

const table: Grown[] = [];

async function cpuMs(read: (text: string) => unknown, text: string, times = 1): Promise<number> {
  const before = process.cpuUsage();
  for (let time = 0; time < times; time++) await read(text);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

async function best(measure: () => Promise<number>, runs: number): Promise<number> {
  let least = Infinity;
  for (let run = 0; run < runs; run++) least = Math.min(least, await measure());
  return least;
}

/** One text at both sizes, the best of so many runs of each. */
async function grow(
  file: string,
  read: (text: string) => unknown,
  { title, text }: Hostile,
  bytes: number,
  runs: number,
) {
  const [small, large] = [text(bytes / TIMES), text(bytes)];
  const smallMs = await best(() => cpuMs(read, small), runs);
  const largeMs = await best(() => cpuMs(read, large), runs);
  // Both may have a head of the same length: what is compared is what was read.
  const ratio = largeMs / smallMs / (large.length / small.length);
  return { file, title, bytes: large.length, smallMs, largeMs, ratio };
}

/** Why the larger sizes are not tried. */
async function tooSlowAlready(read: (text: string) => unknown, { title, text }: Hostile): Promise<string | undefined> {
  for (const [bytes, mostMs] of BEFORE) {
    const ms = await cpuMs(read, text(bytes));
    if (ms > mostMs) return `${title}: ${ms} ms for ${bytes} bytes`;
  }
  return undefined;
}

const shown = (ms: number): string => ms.toFixed(1);
const isRed = ({ largeMs, ratio }: Grown): boolean => largeMs > QUICK_MS && ratio > MOST;

describe('a module that matches text takes time that grows with it:', () => {
  it('every one of them is in the table of parsers', () => {
    const unknown = modules.filter((file) => !(file in PARSERS));
    const gone = Object.keys(PARSERS).filter((file) => !modules.includes(file));
    expect([
      ...unknown.map(
        (file) => `${file} matches text: add it to test/growth/parsers.ts with texts that are hostile to it`,
      ),
      ...gone.map((file) => `${file} matches no text (any more): take it out of test/growth/parsers.ts`),
    ]).toEqual([]);
  });

  const cases = Object.entries(PARSERS).flatMap(([file, parser]) => ('none' in parser ? [] : [{ file, parser }]));
  // Modules that share one parser are tried once.
  const distinct = [...new Map(cases.map(({ file, parser }) => [parser, file])).entries()];

  it.each(distinct.map(([parser, file]) => ({ file, parser })))(
    '$file',
    async ({ file, parser: { read, texts, bytes = LARGE_BYTES } }) => {
      const red: string[] = [];
      let slowest: Grown | undefined;
      for (const hostile of texts) {
        const stopped = await tooSlowAlready(read, hostile);
        if (stopped !== undefined) {
          red.push(stopped);
          continue;
        }
        // The first look is cheap. Compiler and collector work when they like, so one that is red counts the best of three.
        let grown = await grow(file, read, hostile, bytes, 1);
        for (let again = 0; again < 5 && isRed(grown); again++) grown = await grow(file, read, hostile, bytes, 3);
        if (isRed(grown))
          red.push(`${hostile.title}: ${shown(grown.smallMs)} ms, ${shown(grown.largeMs)} ms for four times as much`);
        if (grown.largeMs > (slowest?.largeMs ?? 0)) slowest = grown;
      }
      if (slowest) table.push(slowest);
      expect(red).toEqual([]);
    },
    600_000,
  );

  afterAll(() => {
    if (process.env['GROWTH_TABLE'] !== '1') return;
    const rows = table.map(({ file, title, bytes, smallMs, largeMs, ratio }) =>
      [file, title, String(bytes), shown(smallMs), shown(largeMs), ratio.toFixed(1)].join(' | '),
    );
    console.info(['module | slowest text | bytes | ms at a quarter | ms | of linear', ...rows].join('\n'));
  });
});
