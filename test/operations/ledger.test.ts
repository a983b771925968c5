import { describe, expect, it } from '@jest/globals';
import { begun, noted, type Listed } from '../../src/operations/ledger.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { Inventory } from '../../src/plan/types.ts';
import { anInventory, runningInventory, servedBefore } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const spec = aSpec();
const first = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
const running = runningInventory(first, anInventory(spec));
const listed: Listed[] = [...first.prefill, ...first.decode].map(({ url, role }) => ({ url, role, ready: true }));
const serving = { engines: [...first.prefill, ...first.decode].map((row) => ({ ...row, hosts: [row.host] })) };
const [decode] = first.decode;

/** What the hosts show once something befell the units of an engine. */
const shown = (befell: (unit: Inventory['hosts'][number]['found'][number]) => readonly (typeof unit)[]): Inventory => ({
  hosts: running.hosts.map((host) => ({
    ...host,
    found: host.found.flatMap((unit) => (unit.name === decode!.name ? befell(unit) : [unit])),
  })),
});
const planOn = (inventory: Inventory) =>
  planCluster({ spec, inventory, installation: 'ours', deployment: 2, ...servedBefore(2) });

describe('the ledger of an operation', () => {
  it('begins with every part of what goes, and whether it ran', () => {
    const inventory = shown((unit) => [{ ...unit, running: false }]);
    const { leaving, lost, leases } = begun(planOn(inventory), inventory, listed, serving);
    expect(leaving).toEqual([
      { name: decode!.name, runtime: 'docker', rank: 0, deployment: 1, host: decode!.host, running: false },
    ]);
    expect(lost).toEqual([]);
    expect(Object.keys(leases)).toEqual(running.hosts.map(({ host }) => host));
  });

  it('names what serves by the record, is on no host any more, and is still listed elsewhere than where it comes back', () => {
    const inventory = shown(() => []);
    const moved = listed.map((entry) => (entry.url === decode!.url ? { ...entry, url: 'http://10.9.9.9:1' } : entry));
    const record = {
      engines: serving.engines.map((row) => (row.name === decode!.name ? { ...row, url: 'http://10.9.9.9:1' } : row)),
    };
    expect(begun(planOn(inventory), inventory, moved, record).lost).toEqual([
      { name: decode!.name, url: 'http://10.9.9.9:1' },
    ]);
    expect(begun(planOn(inventory), inventory, listed, serving).lost).toEqual([]);
  });

  it('grows by what is noted, never twice by the same, and is plain JSON', () => {
    const before = begun(planOn(running), running, listed, serving);
    const images = noted(noted(before, { images: { a: 'sha256:1' } }), { images: { b: 'sha256:2' } });
    const all = noted(noted(images, { held: ['h1'], routed: ['e1'] }), { held: ['h1', 'h2'] });
    expect(all).toEqual({ ...before, images: { a: 'sha256:1', b: 'sha256:2' }, held: ['h1', 'h2'], routed: ['e1'] });
    expect(JSON.parse(JSON.stringify(all))).toEqual(all);
    expect(before.held).toEqual([]);
  });
});
