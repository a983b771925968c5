import { describe, expect, it } from '@jest/globals';
import { isNoop } from '../../src/plan/noop.ts';
import { planCluster } from '../../src/plan/plan.ts';
import { aSpec } from '../support/specs.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';

describe('planning', () => {
  it('x', () => {
    const spec = aSpec();
    const inventory = anInventory(spec);
    const plan = planCluster({ spec, inventory, installation: 'me', deployment: 1 });
    const again = planCluster({
      spec,
      inventory: runningInventory(plan, inventory),
      installation: 'me',
      deployment: 2,
    });
    expect(isNoop(again)).toBe(true);
  });
});
