import { describe, expect, it } from '@jest/globals';
import type { Operation, Outcome } from '../../src/operations/outcomes.ts';
import {
  admitted,
  adopted,
  dropped,
  emptyRecord,
  ended,
  RECORD_BUDGET,
  targetOf,
  withinBudget,
  type Conclusion,
  type ClusterRecord,
} from '../../src/operations/record.ts';
import type { Serving } from '../../src/plan/types.ts';
import { aSpec } from '../support/specs.ts';

const NOW = '2026-11-24T12:00:00.000Z';
const SERVING: Serving = {
  deployment: 1,
  site: 'default',
  model: 'm',
  specDigest: 'sha256:1',
  engines: [],
  router: { url: 'http://10.0.0.9:30000' },
  hosts: [],
};

const ask = (
  state: ClusterRecord,
  operation: Operation = 'deploy',
  spec = aSpec(),
  specDigest = `sha256:${state.lastDeployment + 1}`,
) => {
  const deployment = state.lastDeployment + 1;
  return {
    deployment,
    workflowId: `${operation}/c/${deployment}`,
    request: { operation, actor: 'a', notAfter: NOW, spec, specDigest },
    spec,
    specDigest,
  };
};

/** One operation from admission to its end. */
function after(state: ClusterRecord, outcome: Outcome, serving: Serving | null = state.serving): ClusterRecord {
  const pending = ask(state);
  const failed = { step: 's', host: 'h', code: 'C', message: 'm', evidence: 'e', remedy: 'r' };
  const conclusion: Conclusion =
    outcome === 'succeeded' || outcome === 'unchanged' || outcome === 'superseded'
      ? { outcome, result: { outcome, serving } }
      : outcome === 'cancelled'
        ? { outcome }
        : {
            outcome,
            failure: {
              outcome: outcome as 'stuck',
              failed,
              leftBehind: outcome === 'stuck' ? ['x'] : [],
              difference: [],
              kept: [],
            },
          };
  return ended(admitted(state, pending, NOW), pending, conclusion, NOW);
}

const empty = emptyRecord('c', 'inst');
const served = after(empty, 'succeeded', SERVING);

describe('the state of a cluster', () => {
  it.each([
    ['none', empty],
    ['none', after(empty, 'rolled-back')],
    ['none', after(empty, 'cancelled')],
    ['serving', served],
    ['serving', after(served, 'rolled-back')],
    ['serving', after(served, 'unchanged')],
    ['stuck', after(served, 'stuck')],
    ['serving', after(after(served, 'stuck'), 'succeeded', SERVING)],
    ['stopped', after(served, 'succeeded', null)],
    ['stopped', after(after(served, 'succeeded', null), 'rolled-back')],
    // What a superseded operation began is there until one ends well.
    ['degraded', after(served, 'superseded')],
    ['degraded', after(after(served, 'superseded'), 'rolled-back')],
    ['degraded', after(empty, 'superseded')],
    ['serving', after(after(served, 'superseded'), 'succeeded', SERVING)],
    ['stopped', after(after(served, 'superseded'), 'succeeded', null)],
  ])('is %s (%#)', (state, record) => expect(record.state).toBe(state));
});

describe('an operation that takes over', () => {
  const first = ask(empty);
  const running = admitted(empty, first, NOW);
  const second = ask(running);
  const both = admitted(running, second, NOW);

  it('waits, and runs once the first has ended', () => {
    expect(both).toMatchObject({ running: { deployment: 1 }, waiting: { deployment: 2 } });
    const now = ended(both, first, { outcome: 'superseded', result: { outcome: 'superseded', serving: null } }, NOW);
    expect(now).toMatchObject({ state: 'deploying', running: { deployment: 2 }, waiting: null });
    expect(now.deployments.map(({ outcome }) => outcome)).toEqual(['superseded', 'running']);
  });

  it('that is dropped never began; its number is not used again', () => {
    const by = { how: 'cancel', actor: 'ada', reason: 'no need', at: NOW } as const;
    const now = dropped(both, by);
    expect(now).toMatchObject({ running: { deployment: 1 }, waiting: null, lastDeployment: 2 });
    expect(now.deployments.at(-1)).toMatchObject({ deployment: 2, outcome: 'cancelled', finishedAt: NOW, endedBy: by });
  });
});

describe('a lost record', () => {
  const request = {
    installation: 'lost',
    lastDeployment: 7,
    spec: aSpec(),
    specDigest: 'sha256:x',
    actor: 'a',
    notAfter: NOW,
  };

  it('goes on under the installation and after the number that the hosts show', () => {
    const now = adopted(empty, { ...request, serving: SERVING }, NOW);
    expect(now).toMatchObject({ installation: 'lost', state: 'serving', lastDeployment: 7, serving: SERVING });
    expect(admitted(now, ask(now), NOW).deployments.map(({ deployment }) => deployment)).toEqual([7, 8]);
    expect(targetOf({}, now)?.specDigest).toBe('sha256:x');
  });

  it('of which nothing serves is stuck, so that a destroy is asked for', () => {
    expect(adopted(after(empty, 'rolled-back'), { ...request, serving: null }, NOW)).toMatchObject({
      state: 'stuck',
      lastDeployment: 7,
    });
  });
});

describe('the budget', () => {
  const bulky = (name: string, kib = 27) => aSpec({ name, engine: { env: { FILLER: 'x'.repeat(kib * 1024) } } });
  const long = (count: number, kib?: number): ClusterRecord => {
    let state = served;
    for (let turn = 0; turn < count; turn += 1) {
      const pending = ask(state, 'deploy', bulky(`c${turn}`, kib));
      const conclusion = { outcome: 'succeeded', result: { outcome: 'succeeded', serving: SERVING } } as const;
      state = ended(admitted(state, pending, NOW), pending, conclusion, NOW);
    }
    return state;
  };

  it('is kept by dropping old spec bodies, named; no deployment is lost', () => {
    const state = long(200);
    expect(JSON.stringify(state).length).toBeLessThanOrEqual(RECORD_BUDGET);
    expect(state.deployments).toHaveLength(201);
    expect(state.droppedSpecs.length).toBeGreaterThan(100);
    expect(Object.keys(state.specs)).toContain(SERVING.specDigest); // What serves can always be deployed again.
    expect(Object.keys(state.specs)).toContain('sha256:201');
    const known = [...Object.keys(state.specs), ...state.droppedSpecs];
    expect(new Set(known).size).toBe(201);
    expect(known).toHaveLength(201);
  });

  it('is kept to the character, however much there is to drop', () => {
    const whole = long(30, 1);
    const most = JSON.stringify(whole).length;
    for (let budget = Math.ceil(most / 2); budget < most; budget += 50) {
      expect(JSON.stringify(withinBudget(whole, budget)).length).toBeLessThanOrEqual(budget);
    }
  });

  it('a spec that is deployed again is the newest, and is not among the dropped', () => {
    const state = long(100);
    const [gone] = state.droppedSpecs;
    const again = admitted(state, ask(state, 'deploy', bulky('again'), gone!), NOW);
    expect(again.droppedSpecs).not.toContain(gone);
    expect(Object.keys(again.specs).at(-1)).toBe(gone);
  });

  it('too small even so, shortens what old deployments tell, evidence first, and still loses none', () => {
    let state = served;
    for (let turn = 0; turn < 50; turn += 1) state = after(state, 'stuck');
    const evident = {
      ...state,
      deployments: state.deployments.map((entry) =>
        entry.failed ? { ...entry, failed: { ...entry.failed, evidence: 'e'.repeat(4096) } } : entry,
      ),
    };
    const small = withinBudget(evident, 60_000);
    expect(JSON.stringify(small).length).toBeLessThanOrEqual(60_000);
    expect(small.deployments.map(({ deployment }) => deployment)).toEqual(
      evident.deployments.map(({ deployment }) => deployment),
    );
    expect(small.deployments[1]!.failed).toMatchObject({ code: 'C', evidence: '' });
    expect(small.deployments.at(-1)!.failed!.evidence).toHaveLength(4096);
  });
});
