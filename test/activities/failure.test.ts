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
