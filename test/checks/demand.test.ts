import { describe, expect, it } from '@jest/globals';
import { demandWithoutPlan, demandsOf } from '../../src/checks/demand.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { Plan } from '../../src/plan/types.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const spec = aSpec();
const input = { spec, installation: 'i', deployment: 1, inventory: anInventory(spec) };
const fresh = planCluster(input);
const of = (host: string, plan: Plan, of = spec) => demandsOf(of, plan).find((demand) => demand.host === host);

describe('what a plan wants of a host', () => {
  it('of a prefill host: its GPUs, its devices and every port of its engine', () => {
    expect(of('p0', fresh)).toMatchObject({
      cluster: 'tiny',
      gpus: { product: 'MI300X', count: 8, planned: [0, 1, 2, 3, 4, 5, 6, 7], serving: [] },
      ports: [
        { port: 30000, use: 'tandem-tiny-prefill-0-1' },
        { port: 8998, use: 'tandem-tiny-prefill-0-1' },
      ],
      engineRuntime: 'docker',
      docker: true,
    });
    expect(of('p0', fresh)?.nics).toHaveLength(8);
  });

  it('of a host that only routes: its port alone', () => {
    const demand = of('router-0', fresh);
    expect(demand?.ports).toEqual([{ port: 30000, use: 'tandem-tiny-router-0-1' }]);
    expect(demand?.docker).toBe(false);
    expect(Object.keys(demand!)).not.toContain('gpus');
    expect(Object.keys(demand!)).not.toContain('engineRuntime');
  });

  it('of a running cluster: no port and no free GPU, since its own engines are there', () => {
    const running = planCluster({ ...input, deployment: 2, inventory: runningInventory(fresh, input.inventory) });
    expect(of('p0', running)).toMatchObject({ gpus: { serving: [0, 1, 2, 3, 4, 5, 6, 7] }, ports: [] });
    expect(of('router-0', running)?.ports).toEqual([]);
  });

  it('of weights used in place no disk, of weights that are copied their folder', () => {
    const hub = aSpec({ model: { source: 'hf://a/b@main' } });
    const plan = planCluster({ ...input, spec: hub });
    expect(Object.keys(of('p0', fresh)!)).not.toContain('weights');
    expect(of('p0', plan, hub)?.weights).toEqual({ dir: '/var/lib/tandem/models' });
    expect(demandsOf(hub, plan, { weightsGiB: 140 })[0]?.weights?.needGiB).toBe(140);
  });

  it('is plain JSON', () => {
    const demands = demandsOf(spec, fresh);
    expect(JSON.parse(JSON.stringify(demands))).toEqual(demands);
  });
});

describe('what a spec wants of a host before there is a plan', () => {
  const without = (name: string, of = spec) =>
    demandWithoutPlan(
      of,
      of.hosts.list.find((host) => host.name === name)!,
    );

  it('is every GPU of a host that a role fits, and nothing of a GPU on a host that only routes', () => {
    expect(without('d0').gpus?.planned).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(without('router-0')).toMatchObject({ docker: false, ports: [{ port: 30000, use: 'the router' }] });
    expect(Object.keys(without('router-0'))).not.toContain('gpus');
  });

  it('is no GPU on a host whose product no role asks for', () => {
    const mixed = aSpec({ prefill: { gpus: { product: 'MI325X' } }, decode: { gpus: { product: 'MI325X' } } });
    expect(Object.keys(without('p0', mixed))).not.toContain('gpus');
  });

  it('is no GPU on a host that no role may use', () => {
    const named = aSpec({ prefill: { hosts: ['p0'] }, decode: { hosts: ['p0'] } });
    expect(Object.keys(without('d0', named))).not.toContain('gpus');
  });

  it('is a port for each engine that would fill the host', () => {
    const halves = aSpec({ prefill: { gpus: { count: 4 } }, decode: { hosts: ['d0'] } });
    expect(without('p0', halves).ports.map(({ port }) => port)).toEqual([30000, 8998, 30400, 9398]);
  });
});
