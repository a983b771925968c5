import { describe, expect, it } from '@jest/globals';
import { defaultPayloadConverter } from '@temporalio/common';
import { payloadCodec } from '../../src/codec.ts';
import { demandsOf } from '../../src/checks/demand.ts';
import { planCluster } from '../../src/plan/plan.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const HOSTS = 1_000;
/** Temporal refuses a payload of 2 MiB, and warns from 512 KiB on. */
const PAYLOAD_MAX = 512 * 1024;
/** Calls that one batch of a fan-out carries. */
const BATCH = 50;

const engines = HOSTS - 1;
const prefill = Math.round(engines * 0.4);
const spec = aSpec({
  hosts: {
    list: Array.from({ length: HOSTS }, (_, index) => ({
      name: index < engines ? `mi300x-${index}` : 'router-0',
      address: `10.${index >> 8}.${index & 255}.1`,
      gpus: { product: 'MI300X', count: index < engines ? 8 : 0 },
    })),
  },
  prefill: { replicas: prefill, gpus: { product: 'MI300X', count: 8 } },
  decode: { replicas: engines - prefill, gpus: { product: 'MI300X', count: 8 } },
});
const inventory = anInventory(spec);
const input = { spec, installation: '0192f0c1-7e5a-7b1e-9c35-2f1f8a3c9d10', deployment: 1 };
const plan = planCluster({ ...input, inventory });
const all = [...plan.prefill, ...plan.decode];
const demands = demandsOf(spec, plan, { leases: {} });

/** Bytes as they are in a history, and before the codec. */
async function sizeOf(value: unknown): Promise<{ raw: number; stored: number }> {
  const payload = defaultPayloadConverter.toPayload(value)!;
  const [stored] = await payloadCodec.encode([payload]);
  return { raw: payload.data!.length, stored: stored!.data!.length };
}

describe(`a cluster of ${HOSTS} hosts`, () => {
  it('is planned with every engine in its place and a sample of its links', () => {
    expect(all).toHaveLength(engines);
    expect(new Set(all.map(({ host }) => host)).size).toBe(engines);
    expect(plan.rounds.length).toBeGreaterThan(0);
    expect(plan.pairs.length).toBeLessThanOrEqual(engines * 4);
  });

  it.each([
    ['the request for an operation', { operation: 'deploy', spec, actor: 'a', notAfter: '' }],
    ['the input of the planner', { ...input, inventory }],
    ['the plan', plan],
    ['the input of the planner once all of it runs', { ...input, inventory: runningInventory(plan, inventory) }],
    ['a batch of hosts observed', inventory.hosts.slice(0, BATCH)],
    [
      'a batch of engines to start',
      all.slice(0, BATCH).map((engine) => ({ name: 'startRank', input: { ref: plan.hosts[0], engine, rank: 0 } })),
    ],
    [
      'a batch of hosts to check',
      demands.slice(0, BATCH).map((demand) => ({ name: 'checkHost', input: { ref: plan.hosts[0], demand } })),
    ],
    ['the largest round of links', plan.rounds.toSorted((a, b) => b.tests.length - a.tests.length)[0]],
  ])('%s is a payload below 512 KiB', async (what, value) => {
    const { raw, stored } = await sizeOf(value);
    process.stderr.write(`${HOSTS} hosts: ${what}: ${kib(stored)} KiB stored, ${kib(raw)} KiB of JSON\n`);
    expect(stored).toBeLessThanOrEqual(PAYLOAD_MAX);
  });
});

const kib = (bytes: number): string => (bytes / 1024).toFixed(1);
