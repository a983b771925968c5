import { describe, expect, it } from '@jest/globals';
import { createImageActivities, sameImage } from '../../activities/images.ts';
import type { ImageRequest } from '../../src/drivers/images.ts';
import { hostRef, localDrivers, localHost } from '../support/local-host.ts';

describe('images', () => {
  it('are the same when every host has one id', () => {
    const ids = { h0: 'sha256:a', h1: 'sha256:a' };
    expect(sameImage({ reference: 'r:t', ids })).toBe('sha256:a');
  });

  it('that differ are named with their hosts, and the remedy names the few', () => {
    const ids = { h0: 'sha256:a', h1: 'sha256:b', h2: 'sha256:a' };
    expect(() => sameImage({ reference: 'r:t', ids })).toThrow(
      expect.objectContaining({
        code: 'IMAGE_DIFFERS',
        host: 'h1',
        message: 'r:t is not the same image everywhere: sha256:a on h0, h2; sha256:b on h1',
        remedy: expect.stringContaining('again on h1'),
      }),
    );
  });

  it('are fetched with the password resolved, not the reference to it', async () => {
    const host = await localHost('h0', '127.84.4.1');
    const asked: ImageRequest[] = [];
    const activity = createImageActivities(localDrivers([host], { PW: 'secret' }), async (_, request) => {
      asked.push(request);
      return { id: 'sha256:a' };
    });
    const pull = {
      policy: 'missing',
      login: { user: 'u', password: { fromEnv: 'PW' } },
      mirror: 'mirror.lan',
    } as const;
    expect(await activity.fetchImage({ ref: hostRef('h0', '127.84.4.1'), reference: 'r:t', pull })).toEqual({
      id: 'sha256:a',
    });
    expect(asked).toEqual([
      expect.objectContaining({
        reference: 'r:t',
        policy: 'missing',
        mirror: 'mirror.lan',
        login: { user: 'u', password: 'secret' },
      }),
    ]);
    const missing = { ...pull, login: { user: 'u', password: { fromEnv: 'NOT_THERE' } } };
    await expect(activity.fetchImage({ ref: host.ref, reference: 'r:t', pull: missing })).rejects.toMatchObject({
      code: 'SECRET_MISSING',
    });
    expect(asked).toHaveLength(1);
    await host.close();
  });
});
