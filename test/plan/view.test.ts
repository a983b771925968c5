import { describe, expect, it } from '@jest/globals';
import { renderPlan } from '../../src/cli/views/plan.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { Inventory, Plan } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { expectGolden } from '../support/golden.ts';
import { anInventory, runningInventory, servedBefore } from '../support/inventories.ts';
import { specFile } from '../support/spec-files.ts';

const planOf = (spec: ClusterSpec, inventory: Inventory = anInventory(spec), deployment = 1): Plan =>
  planCluster({ spec, inventory, installation: 'ours', deployment, ...servedBefore(deployment) });

const scaled = (spec: ClusterSpec, prefill: number, decode: number): ClusterSpec => ({
  ...spec,
  prefill: { ...spec.prefill, replicas: prefill },
  decode: { ...spec.decode, replicas: decode },
});

describe('a plan as people read it', () => {
  const qwen = specFile('qwen2.5-72b-mi300x.yaml');

  it('of a first deploy says what, where and in which order', () => {
    expectGolden('plan-qwen-first.txt', renderPlan(planOf(qwen)));
  });

  it('of engines over several hosts shows every rank', () => {
    expectGolden('plan-deepseek-first.txt', renderPlan(planOf(specFile('deepseek-r1-mi300x.yaml'))));
  });

  it('of a change names what stays, comes back, goes first and goes last, and why', () => {
    const before = planOf(scaled(qwen, 2, 4));
    const inventory = runningInventory(before, anInventory(qwen));
    const ended = {
      hosts: inventory.hosts.map((host) => ({
        ...host,
        found: host.found.map((unit) => ({ ...unit, running: unit.role !== 'prefill' || unit.index !== 1 })),
      })),
    };
    const after = { ...scaled(qwen, 3, 3), router: { ...qwen.router, policy: 'round_robin' } } as ClusterSpec;
    expectGolden('plan-qwen-change.txt', renderPlan(planOf(after, ended, 2)));
  });

  it('of fewer engines says that what stays is proven before anything goes', () => {
    const inventory = runningInventory(planOf(scaled(qwen, 2, 4)), anInventory(qwen));
    expectGolden('plan-qwen-fewer.txt', renderPlan(planOf(scaled(qwen, 2, 3), inventory, 2)));
  });

  it('of nothing to do says so', () => {
    const demo = specFile('demo.yaml');
    const first = planOf(demo);
    const text = renderPlan(planOf(demo, runningInventory(first, anInventory(demo)), 2));
    expectGolden('plan-demo-unchanged.txt', text);
    expect(text).toContain('nothing to do');
  });
});
