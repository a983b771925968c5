/**
 * `npm run chaos -- [--seed N] [--only PATTERN] [--limit N] [--minutes N] [--races N] [--side-by-side N] [--block N]
 * [--out FILE] [--page FILE]`: the crash matrix in an order that the seed decides, then races of two Temporal servers. It
 * takes hours, so it can be ended and begun again: every result is appended to FILE as a line of JSON with its commit,
 * and cases that stand there unbroken are not run again; delete the file to begin anew. Writes docs/chaos.md. Exit code
 * 1 when a promise was broken.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startStack, type Stack } from '../support/stack.ts';
import { CRASHES, matrix, nameOf, randomOf, shuffled, type CrashCase } from './cases.ts';
import { contender, race } from './race.ts';
import { counting, report, type Line } from './report.ts';
import { runRound, startWorld, type World } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
    limit: { type: 'string', default: 'Infinity' },
    minutes: { type: 'string', default: 'Infinity' },
    races: { type: 'string', default: '5' },
    'side-by-side': { type: 'string', default: '4' },
    block: { type: 'string', default: '93' },
    out: { type: 'string', default: fileURLToPath(new URL('../../docs/chaos.jsonl', import.meta.url)) },
    page: { type: 'string', default: fileURLToPath(new URL('../../docs/chaos.md', import.meta.url)) },
  },
});
const seed = Number(values.seed);
const block = Number(values.block);
const place = { slot: 0, block };
const slots = Number(values['side-by-side']);
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
const endMs = Date.now() + Number(values.minutes) * 60_000;
let limit = Number(values.limit);

const stored = (): Line[] =>
  existsSync(values.out)
    ? readFileSync(values.out, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line)
    : [];
const ours = () => stored().filter((line) => line.seed === seed);
const keep = (line: Line) => {
  appendFileSync(values.out, `${JSON.stringify(line)}\n`);
  const what =
    line.kind === 'case'
      ? `${line.case} (${line.hit || 'not struck'}) ${line.outcome} ${line.failed}`
      : `race ${line.winner}`;
  const spent = line.kind === 'case' ? ` ${line.seconds} s` : '';
  console.log(`${line.violations.length === 0 ? 'ok    ' : 'BROKEN'} ${what.trim()}${spent}`);
  for (const violation of line.violations) console.log(`         ${violation}`);
};
const about = () => ({ commit, at: new Date().toISOString() });

/** What is to be ended whatever happens: stacks outlive a campaign that is cut short. */
const open = new Set<Stack>();
try {
  await runMatrix();
  await runRaces();
} finally {
  for (const stack of [...open].reverse()) await stack.stop();
}
const lines = ours();
writeFileSync(values.page, `${report(lines)}\n`);
console.log(`\n${report(lines)}`);
process.exitCode = counting(lines).some(({ violations }) => violations.length > 0) ? 1 : 0;

async function runMatrix(): Promise<void> {
  const whole = counting(ours()).filter(({ violations }) => violations.length === 0);
  const done = new Set(whole.map((line) => (line.kind === 'case' ? line.case : '')));
  const wanted = matrix().filter((one) => new RegExp(values.only).test(nameOf(one)) && !done.has(nameOf(one)));
  let world: World | undefined;
  for (const round of rounds(wanted)) {
    if (Date.now() > endMs || limit <= 0) break;
    limit -= round.length;
    if (!world) {
      world = await startWorld(slots, block);
      open.add(world.stack);
    }
    try {
      const results = await runRound(world, round, seed);
      for (const result of results) keep({ kind: 'case', ...result, ...about() });
      // What a broken case left would be the next one's.
      if (results.every(({ violations }) => violations.length === 0)) continue;
    } catch (error) {
      for (const one of round) keep({ kind: 'case', ...unfinished(one, error), ...about() });
    }
    await end(world.stack);
    world = undefined;
  }
  if (world) await end(world.stack);
}

/** Cases of one crash a round, of all operations where there are enough. */
function rounds(cases: readonly CrashCase[]): readonly (readonly CrashCase[])[] {
  const random = randomOf(values.seed);
  const all = CRASHES.flatMap((crash) => {
    const own = shuffled(
      cases.filter((one) => one.crash === crash),
      random,
    );
    return Array.from({ length: Math.ceil(own.length / slots) }, (_, at) => own.slice(at * slots, (at + 1) * slots));
  });
  return shuffled(all, random);
}

function unfinished(one: CrashCase, error: unknown) {
  return {
    case: nameOf(one),
    seed,
    hit: '',
    outcome: 'unknown',
    failed: '',
    seconds: 0,
    destroys: 0,
    unknownSteps: [],
    violations: [`the round did not come to its end: ${error instanceof Error ? error.message : String(error)}`],
  };
}

async function runRaces(): Promise<void> {
  let round = ours().filter(({ kind, violations }) => kind === 'race' && violations.length === 0).length;
  let stacks: [Stack, Stack] | undefined;
  for (; round < Number(values.races); round += 1) {
    if (!stacks) {
      const spec = contender(place, 'one', 30000);
      const first = await startStack({ spec });
      open.add(first);
      stacks = [first, await startStack({ spec, beside: first })];
      open.add(stacks[1]);
    }
    const result = await race(stacks, place, round);
    keep({ kind: 'race', ...result, seed, ...about() });
    if (result.violations.length === 0) continue;
    await end(stacks[1]);
    await end(stacks[0]);
    stacks = undefined;
  }
  if (!stacks) return;
  await end(stacks[1]);
  await end(stacks[0]);
}

async function end(stack: Stack): Promise<void> {
  open.delete(stack);
  await stack.stop();
}
