import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EVERY_CASE } from '../support/choice.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { STILL_MS } from '../support/patience.ts';
import { until } from '../support/processes.ts';
import { startStack, stackSpec, type Stack } from '../support/stack.ts';
import type { StackProcess } from '../support/temporal-stack.ts';

/**
 * A deploy goes on when the Temporal worker or the Temporal server is killed in the middle, and nothing is done twice:
 * counted on the hosts, where every command that ran is known.
 */
let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ spec: stackSpec(2), scenario: { countAll: true } });
});
afterAll(async () => {
  await stack?.stop();
});

const HOSTS = ['p0', 'd0', 'd1'];
const callsOf = (host: string, pattern: RegExp) =>
  stack.simulation.host(host).calls.filter((argv) => pattern.test(argv.join(' ')));

/** One line that the copy program runs once, and the copy of one of its files. */
const COPIES = /^mkdir claims$/;
const FILE_COPIES = /^cp -- \S+\/model-00001-of-00002\.safetensors /;

/** A copy that takes a while, and an engine whose start is done on the host a while before the worker is told. */
const SLOW = [
  { match: FILE_COPIES.source, host: 'd0', does: 'answersLate' as const, afterMs: 5_000 },
  {
    match: '^docker container inspect tandem-.*-decode-0',
    host: 'd0',
    nth: 2,
    does: 'answersLate' as const,
    afterMs: 5_000,
  },
];

type Victim = 'worker' | 'server';

/** What is killed during a copy, and what after an engine was started. */
const KILLS: readonly (readonly [Victim, Victim])[] = EVERY_CASE
  ? [
      ['worker', 'worker'],
      ['server', 'server'],
      ['server', 'worker'],
    ]
  : [['worker', 'server']];

describe.each(KILLS)(
  'kill -9 of the Temporal %s during a copy, and of the %s after an engine was started',
  (first, second) => {
    const spec: ClusterSpec = { ...stackSpec(2), name: `killed-${first}-${second}` };
    const ownWeights: ClusterSpec = { ...spec, model: { ...spec.model, dir: `~/models-${first}-${second}` } };

    it('ends no deploy: it goes on, succeeds, and nothing was started twice', async () => {
      await stack.simulation.setFaults(SLOW);
      const copies = (host: string) => callsOf(host, COPIES).length;
      const before = Object.fromEntries(
        HOSTS.map((host) => [host, { copies: copies(host), files: callsOf(host, FILE_COPIES).length }]),
      );
      const counts = stack.simulation.counts();
      const gained = (host: string) => ({
        copies: copies(host) - before[host]!.copies,
        files: callsOf(host, FILE_COPIES).length - before[host]!.files,
        containers: stack.simulation.counts()[host]!.containersCreated - counts[host]!.containersCreated,
        engines: stack.simulation.counts()[host]!.enginesStarted - counts[host]!.enginesStarted,
      });
      const kill = async (victim: Victim) => {
        const { [victim]: process }: Record<Victim, StackProcess> = stack;
        await process.kill();
        await process.start();
      };

      const admitted = await stack.begin(ownWeights);
      await until('the copy on d0 has begun', () => gained('d0').files === 1, { limitMs: STILL_MS });
      await kill(first);
      await until('the first decode engine was started', () => gained('d0').containers === 1, { limitMs: STILL_MS });
      await kill(second);

      expect(await stack.ended(spec.name, admitted)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
      for (const host of HOSTS)
        expect([host, gained(host)]).toEqual([host, { copies: 1, files: 1, containers: 1, engines: 1 }]);
      await stack.simulation.setFaults([]);
      expect(await stack.run(ownWeights, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    });
  },
);
