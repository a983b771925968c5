import { describe, expect, it } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createWeightsActivities, type StageWeights } from '../../activities/weights.ts';
import { DeployError } from '../../src/errors.ts';
import type { Drivers, Host } from '../../src/drivers/types.ts';
import type { StageRequest, Weights } from '../../src/drivers/weights/types.ts';

const REF = {
  name: 'gpu-a', address: '127.85.0.1', port: 22, user: 'ops', fabricAddress: '127.85.0.1', stateDir: '~/.tandem', leaseDir: '~/leases',
  ssh: { knownHostsFile: '', jump: [], become: 'none' as const },
}; // prettier-ignore
const OWNER = { cluster: 'qwen-pd', installation: 'run-1', deployment: 3 };
const STAGING = { host: 'gpu-a', source: 'hf://acme/tiny@main', path: '~/models/x', copy: true };
const INPUT: StageWeights = { ref: REF, staging: STAGING, model: {}, ...OWNER };

/** Activities over weights that are recorded; the copy goes on until its attempt is aborted. */
function recorded(stage?: Weights['stage']) {
  const calls: unknown[][] = [];
  const drivers = {
    host: (_ref: unknown, signal?: AbortSignal) => ({ aborted: signal?.aborted ?? false }) as unknown as Host,
    secret: async () => 'the-token',
    close: async () => undefined,
  } as unknown as Drivers;
  const weights: Weights = {
    stage:
      stage ??
      ((_host, request, { signal, progress }) => {
        calls.push(['stage', request]);
        progress({ host: 'gpu-a', bytes: 1, totalBytes: 2 });
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
      }),
    halt: async (host, ...rest) => void calls.push(['halt', host, ...rest]),
    drop: async (_host, ...rest) => (calls.push(['drop', ...rest]), {}),
    pin: async (...all) => (calls.push(['pin', ...all.slice(0, 2)]), 'hf://acme/tiny@c0ffee'),
  };
  return { calls, activities: createWeightsActivities(drivers, weights) };
}

/** Runs stageWeights in Temporal's own test environment and ends it for a reason once it has told of progress. */
async function stagedUntil(reason: Parameters<MockActivityEnvironment['cancel']>[0], input = INPUT) {
  const { calls, activities } = recorded();
  const environment = new MockActivityEnvironment();
  const beat = new Promise((resolve) => environment.on('heartbeat', resolve));
  const staging = environment
    .run((given: StageWeights) => activities.stageWeights(given), input)
    .catch((error: unknown) => error);
  expect(await beat).toEqual({ host: 'gpu-a', bytes: 1, totalBytes: 2 });
  environment.cancel(reason);
  return { calls, failure: await staging };
}

describe('staging weights', () => {
  it('that is cancelled ends the copy, by a connection that the cancellation does not reach', async () => {
    const { calls, failure } = await stagedUntil('CANCELLED');
    expect(failure).toMatchObject({ name: 'CancelledFailure' });
    expect(calls.slice(1)).toEqual([['halt', { aborted: false }, '~/models/x', OWNER]]);
  });

  it.each(['WORKER_SHUTDOWN', 'TIMED_OUT'] as const)(
    'lets the copy go on when the attempt ends by %s',
    async (reason) => {
      const { calls, failure } = await stagedUntil(reason);
      expect(failure).toMatchObject({ name: 'CancelledFailure' });
      expect(calls.map(([name]) => name)).toEqual(['stage']);
    },
  );

  it('in place has no copy to end', async () => {
    const { calls } = await stagedUntil('CANCELLED', { ...INPUT, staging: { ...STAGING, copy: false } });
    expect(calls.map(([name]) => name)).toEqual(['stage']);
  });

  it('resolves the token where it is used, and asks the mirror', async () => {
    const seen: StageRequest[] = [];
    const { activities } = recorded(async (_, request) => (seen.push(request), { bytes: 2, files: 1, reused: true }));
    const model = { token: { fromEnv: 'HF_TOKEN' }, endpoint: 'https://mirror.lan' };
    expect(await activities.stageWeights({ ...INPUT, model })).toEqual({ bytes: 2, files: 1, reused: true });
    const { host: _, ...rest } = STAGING;
    expect(seen).toEqual([{ ...rest, owner: OWNER, token: 'the-token', endpoint: 'https://mirror.lan' }]);
  });

  it('fails as the driver says, and ends nothing', async () => {
    const refused = new DeployError({ code: 'SOURCE_REFUSED', message: 'no', remedy: 'yes', retryable: false });
    const { calls, activities } = recorded(() => Promise.reject(refused));
    await expect(
      new MockActivityEnvironment().run((given: StageWeights) => activities.stageWeights(given), INPUT),
    ).rejects.toBe(refused);
    expect(calls).toEqual([]);
  });
});

describe('undoing it', () => {
  it('drops what this deployment copied; without a number, what any of the cluster did', async () => {
    const { calls, activities } = recorded();
    const { ref } = INPUT;
    await activities.dropPartial({ ref, path: '~/models/x', ...OWNER });
    expect(calls).toEqual([['drop', '~/models/x', OWNER]]);
    const { deployment: _, ...everyone } = OWNER;
    await activities.dropPartial({ ref, path: '~/models/x', ...everyone });
    expect(calls.at(-1)).toEqual(['drop', '~/models/x', everyone]);
  });
});

it('A source is pinned with the same access', async () => {
  const { calls, activities } = recorded();
  await activities.pinSource({ source: 'hf://acme/tiny@main', model: { token: { fromEnv: 'T' } } });
  expect(calls).toEqual([['pin', 'hf://acme/tiny@main', { token: 'the-token' }]]);
});
