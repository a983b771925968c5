import { describe, expect, it } from '@jest/globals';
import { createRocmActivities } from '../../activities/rocm.ts';
import type { HostDemand } from '../../src/checks/demand.ts';
import { verdictOf } from '../../src/checks/check.ts';
import { DeployError } from '../../src/errors.ts';
import { hostQuestions } from '../../src/facts/host-facts.ts';
import { type Answer, fakeHost, fakeRef } from '../support/fake-host.ts';
import { healthyOutputs, hung } from '../support/host-outputs.ts';

const ref = fakeRef('h0');
const demand: HostDemand = {
  host: 'h0',
  cluster: 'qwen',
  gpus: { product: 'MI300X', count: 2, planned: [0, 1], serving: [] },
  nics: [],
  ports: [],
  rocm: { version: '>=6.3', driver: '>=6.10', maxUsedGiB: 2 },
  rdma: { transport: 'rdma', devices: 'auto', gidIndex: 'auto', minLinkGbps: 100, providerLibrary: 'auto' },
  engineRuntime: 'docker',
  docker: true,
  weights: { dir: '~/models' },
  leases: [],
  waive: [],
};

/** Answers each question of the host checks by its name. */
const answering =
  (outputs: ReturnType<typeof healthyOutputs>): Answer =>
  (argv) => {
    const asked = hostQuestions({ weightsDir: '/home/ops/models' }).find(
      (question) => question.argv.join(' ') === argv.join(' '),
    );
    return (asked && outputs[asked.name]) ?? { exitCode: 127 };
  };

const checkHost = (host: ReturnType<typeof fakeHost>, wanted = demand) =>
  createRocmActivities({ host: () => host }).checkHost({ ref, demand: wanted });

describe('checking a host', () => {
  it('passes a healthy one in one round trip', async () => {
    const host = fakeHost(answering(healthyOutputs()), { ref });
    const findings = await checkHost(host);
    expect(verdictOf(findings)).toBe('pass');
    expect(host.roundTrips).toBe(1);
    expect(host.asked).toContainEqual(['df', '-Pk', '--', '/home/ops/models', '/home/ops', '/home', '/']);
    expect(JSON.parse(JSON.stringify(findings))).toEqual(findings);
  });

  it('has a finding, and no error, for a tool that hangs', async () => {
    const findings = await checkHost(fakeHost(answering({ ...healthyOutputs(), 'docker-version': hung }), { ref }));
    expect(findings.filter(({ verdict }) => verdict === 'fail')).toMatchObject([
      {
        check: 'container-runtime',
        host: 'h0',
        evidence: expect.stringContaining('docker-version did not answer within its limit'),
      },
    ]);
  });

  it('finds everything unreadable on a host without any tool, in a minimal image', async () => {
    const findings = await checkHost(fakeHost(() => ({ exitCode: 127 }), { ref }));
    expect(verdictOf(findings)).toBe('fail');
    expect(findings.filter(({ verdict }) => verdict === 'pass')).toEqual([]);
  });

  it('throws what the driver throws when the host cannot be reached', async () => {
    const lost = new DeployError({ code: 'HOST_UNREACHABLE', message: 'h0', remedy: 'r', retryable: true });
    await expect(checkHost(fakeHost(() => Promise.reject(lost), { ref }))).rejects.toBe(lost);
  });
});
