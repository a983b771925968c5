import { describe, expect, it } from '@jest/globals';
import { breaches, median, renderReport, type FloorRun, type ProductRun } from '../../bench/report.ts';

const product = (seconds: number, logins = 100): ProductRun => ({
  seconds,
  logins,
  events: 320,
  bytes: 2048,
  retries: 0,
  memoryMiB: 200,
  workerCpuSeconds: 3,
  serverCpuSeconds: 2,
  masters: 16,
  activities: 50,
  byActivity: { observeHost: 2 },
  load: 0.25,
});
const floor = (seconds: number, logins = 100): FloorRun => ({
  seconds,
  logins,
  memoryMiB: 150,
  cpuSeconds: 2,
  retries: 0,
  masters: 16,
  byActivity: { observeHost: 1.5 },
  load: 0.5,
});

const size = (hosts: number, seconds: number, change: Partial<ProductRun> = {}) => ({
  hosts,
  product: [{ ...product(seconds), ...change }],
  floor: [floor(seconds)],
});

describe('a size', () => {
  it('is compared to its floor by medians, so that one disturbed run does not decide it', () => {
    const of = (seconds: readonly number[]) => ({
      hosts: 16,
      product: seconds.map((each) => product(each)),
      floor: [10, 10, 1].map((each) => floor(each)),
    });
    expect(breaches([of([12, 90, 12])])).toEqual([]);
    expect(breaches([of([12, 90, 16])])).toEqual(['16 hosts: ratio 1.60 is above 1.5']);
  });

  it('says nothing where the floor did other work over ssh', () => {
    const of = (logins: number) => ({ hosts: 16, product: [product(12, 100)], floor: [floor(10, logins)] });
    const different = ['16 hosts: deploy and floor ran different work, so their ratio says nothing'];
    expect(breaches([of(80)])).toEqual(different);
    expect(breaches([of(120)])).toEqual(different);
    expect(breaches([of(99)])).toEqual([]);
  });

  it('must not take longer for each host than a smaller one, nor a long history, nor much memory', () => {
    expect(breaches([size(64, 64), size(256, 1.2 * 256)])).toEqual([]);
    expect(breaches([size(64, 64), size(256, 1.4 * 256)])).toEqual([
      '256 hosts: a host takes 1.40 times as long as one of 64',
    ]);
    expect(breaches([size(16, 10, { events: 10_001 })])).toEqual([
      '16 hosts: a history has 10001 events, more than 10000',
    ]);
    expect(breaches([size(16, 10, { memoryMiB: 512 })])).toEqual([
      '16 hosts: the Temporal worker held 512 MiB, above 500',
    ]);
  });
});

it('a median of an even number lies between the middle two', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
});

describe('the report', () => {
  it('shows every size, where its time went, and the load of others', () => {
    const text = renderReport([{ hosts: 16, product: [product(12)], floor: [floor(10)] }]);
    expect(text).toContain('| simulated hosts | 16 |');
    expect(text).toContain('| **ratio to the floor** | **1.20** |');
    expect(text).toContain('| events of the longest history | 320 |');
    expect(text).toContain('| all histories, KiB | 2 |');
    expect(text).toContain('| CPU used by others before a floor | 50 % |');
    expect(text).toContain('| observeHost | 2.00 | 1.50 |');
  });
});
