import { describe, expect, it } from '@jest/globals';
import { judgeCapture } from '../../src/checks/capture.ts';
import { healthyOutputs, notInstalled, printed } from '../support/host-outputs.ts';
import { aSpec } from '../support/specs.ts';

const spec = aSpec();
const healthy = healthyOutputs({ count: 8 });
const router = { 'listening-ports': printed('') };
const capture = { p0: healthy, d0: healthy, 'router-0': router };

describe('a capture of hosts', () => {
  it('passes when every host of the spec is healthy', () => {
    expect(judgeCapture(capture, spec).findings.filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
    expect(judgeCapture(capture, spec).verdict).toBe('pass');
  });

  it('fails with the host whose tool failed, and judges the others', () => {
    const { verdict, findings } = judgeCapture({ ...capture, d0: { ...healthy, 'rocm-version': notInstalled } }, spec);
    expect(verdict).toBe('fail');
    expect(findings.filter((finding) => finding.verdict === 'fail').map(({ host, check }) => [host, check])).toEqual([
      ['d0', 'rocm-version'],
    ]);
  });

  it('fails for a host of the spec that has no folder, and passes over one that is not in the spec', () => {
    const { verdict, findings } = judgeCapture({ p0: healthy, 'router-0': router, stranger: {} }, spec);
    expect(verdict).toBe('fail');
    expect([...new Set(findings.map(({ host }) => host))]).toEqual(['p0', 'd0', 'router-0']);
    expect(findings.filter(({ host, verdict: one }) => host === 'd0' && one === 'pass')).toEqual([]);
  });

  it('warns when all that is wrong is advisory or waived', () => {
    const waiving = aSpec({ checks: { waive: [{ check: 'rocm-version', reason: 'tried' }] } });
    const d0 = { ...healthy, 'rocm-version': printed('5.7.0\n'), 'numa-balancing': printed('1\n') };
    expect(judgeCapture({ ...capture, d0 }, waiving).verdict).toBe('warn');
  });
});
