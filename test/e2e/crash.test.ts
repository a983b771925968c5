import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { matrix, nameOf, pairwise, type CrashCase } from '../chaos/cases.ts';
import { contender, race } from '../chaos/race.ts';
import { runRound, startWorld, type World } from '../chaos/run.ts';
import { some } from '../support/choice.ts';
import { startStack, type Stack } from '../support/stack.ts';

/**
 * Crashes in the middle of operations, judged by what the hosts show: a choice from the matrix of `npm run chaos`, by
 * its code. Every operation meets a host that reboots here; durability.test.ts kills worker and server.
 */
const ROUNDS = pairwise(['reboot']).map((round) => some(round, 2));

/** Apart from the addresses of the campaign, which may run at the same time. */
const PLACE = { slot: 0, block: 94 };

let world: World;
beforeAll(async () => {
  world = await startWorld(4, PLACE.block);
});
afterAll(async () => {
  await world?.stack.stop();
});

describe.each(ROUNDS.map((cases) => ({ crash: cases[0]!.crash, cases })))('a crash: $crash', ({ cases }) => {
  it(`${cases.map(({ operation, stage }) => `${operation} at ${stage}`).join(', ')}: each ends as promised, nothing is there twice, and destroy leaves nothing`, async () => {
    const results = await runRound(world, cases, 1);
    expect(results).toEqual(
      cases.map((one: CrashCase) => expect.objectContaining({ case: nameOf(one), unknownSteps: [], violations: [] })),
    );
  });
});

it('the choice is of the matrix, and every operation meets every crash of it', () => {
  const all = matrix().map(nameOf);
  const chosen = ROUNDS.flat().map(nameOf);
  expect(chosen.filter((name) => !all.includes(name))).toEqual([]);
  expect(new Set(chosen).size).toBe(chosen.length);
});

describe('two Temporal servers that deploy to the same GPUs at once', () => {
  let stacks: [Stack, Stack];
  beforeAll(async () => {
    stacks = [world.stack, await startStack({ spec: contender(PLACE, 'one', 30000), beside: world.stack })];
  });
  afterAll(async () => {
    await stacks?.[1].stop();
  });

  it('one wins whole, the other is refused naming the holder and leaves nothing', async () => {
    expect(await race(stacks, PLACE, 1)).toMatchObject({ violations: [] });
  });
});
