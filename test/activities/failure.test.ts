import { describe, expect, it } from '@jest/globals';
import type { ApplicationFailure } from '@temporalio/common';
import { failureOf, forTemporal } from '../../activities/failure.ts';
import { DeployError } from '../../src/errors.ts';
import { raw } from '../../src/text/raw.ts';

const keep = (text: string) => text;
const error = new DeployError({
  code: 'DISK_TOO_SMALL',
  message: 'gpu-a:/m has 3 GiB free, the weights need 40 GiB',
  remedy: 'Free space on gpu-a.',
  retryable: false,
  host: 'gpu-a',
  evidence: raw('df: 3 GiB'),
  cause: new Error('secret stack'),
});

describe('an error that leaves an activity', () => {
  it('carries its code, host, evidence and remedy, and never its cause', () => {
    const failure = failureOf(error, keep) as ApplicationFailure;
    expect(failure).toMatchObject({
      type: 'DISK_TOO_SMALL',
      nonRetryable: true,
      message: error.message,
      details: [{ host: 'gpu-a', evidence: 'df: 3 GiB', remedy: 'Free space on gpu-a.' }],
    });
    expect(failure.cause).toBeUndefined();
  });

  it('is retried only where it was born retryable', () => {
    const passing = new DeployError({ code: 'HOST_UNREACHABLE', message: 'm', remedy: 'r', retryable: true });
    expect(failureOf(passing, keep)).toMatchObject({ nonRetryable: false });
  });

  it('that nobody foresaw is a fault of Tandem, not retried, without its stack', () => {
    expect(failureOf(new TypeError('x is not a function'), keep)).toMatchObject({
      type: 'INTERNAL',
      nonRetryable: true,
      message: 'TypeError: x is not a function',
    });
  });

  it('is redacted and capped before anybody sees it', async () => {
    const activities = forTemporal(
      {
        fail: async () => {
          throw new DeployError({
            code: 'COMMAND_FAILED',
            message: `token=hunter2 ${'x'.repeat(3_000_000)}`,
            remedy: 'unset hunter2',
            retryable: false,
            evidence: raw('hunter2'),
          });
        },
      },
      (text) => text.replaceAll('hunter2', '[redacted]'),
    );
    const failure = await activities.fail().catch((thrown: ApplicationFailure) => thrown);
    expect(JSON.stringify(failure)).not.toContain('hunter2');
    expect((failure as unknown as ApplicationFailure).message!.length).toBeLessThan(4_200);
    expect((failure as unknown as ApplicationFailure).details).toEqual([
      { evidence: '[redacted]', remedy: 'unset [redacted]' },
    ]);
  });
});

describe('a result that leaves an activity', () => {
  const leave = <T>(result: T, redact = keep) => forTemporal({ act: async () => result }, redact).act();

  it('is a finding without secrets in what it says, while its verdict and names stay what they are', async () => {
    const finding = { check: 'gpu-free', host: 'gpu-a', verdict: 'pass', evidence: 'pass pass', remedy: 'no pass' };
    expect(await leave([finding], (text) => text.replaceAll('pass', '[redacted]'))).toEqual([
      { ...finding, evidence: '[redacted] [redacted]', remedy: 'no [redacted]' },
    ]);
  });

  it('shows what would act on a terminal, in names too', async () => {
    expect(await leave({ things: { 'a\u001b': ['b\u202e', 1, null, true] } })).toEqual({
      things: { 'a\\u001b': ['b\\u202e', 1, null, true] },
    });
  });

  it('gives programs what the spec says to the letter', async () => {
    const plan = { argv: ['a\u200db'], env: { NAME: '👩\u200d💻 sk-1' }, spec: { x: 'y\r\n' } };
    expect(await leave(plan, (text) => text.replaceAll('sk-1', ''))).toEqual(plan);
  });
});
