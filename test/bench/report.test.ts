import { describe, expect, it } from '@jest/globals';
import { differsInWork, median, ratioOf, renderReport, type FloorRun, type ProductRun } from '../../bench/report.ts';

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
  masters: 16,
  byActivity: { observeHost: 1.5 },
  load: 0.5,
});

describe('the ratio to the floor', () => {
  it('is of medians, so that one disturbed run does not decide it', () => {
    const size = { hosts: 16, product: [12, 90, 12].map((s) => product(s)), floor: [10, 10, 1].map((s) => floor(s)) };
    expect(ratioOf(size)).toBeCloseTo(1.2);
  });

  it('a median of an even number lies between the middle two', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('counts for nothing where the two did different work over ssh', () => {
    const size = (logins: number) => ({ hosts: 16, product: [product(12, 100)], floor: [floor(10, logins)] });
    expect(differsInWork(size(80))).toBe(true);
    expect(differsInWork(size(120))).toBe(true);
    expect(differsInWork(size(99))).toBe(false);
  });
});

describe('the report', () => {
  it('shows every size, per host where the issue asks so, and the load of others', () => {
    const text = renderReport([{ hosts: 16, product: [product(12)], floor: [floor(10)] }]);
    expect(text).toContain('| simulated hosts | 16 |');
    expect(text).toContain('| **ratio to the floor** | **1.20** |');
    expect(text).toContain('| events per host | 20.0 |');
    expect(text).toContain('| history, KiB | 2 |');
    expect(text).toContain('| CPU used by others before a floor | 50 % |');
    expect(text).toContain('| observeHost | 2.00 | 1.50 |');
  });
});
