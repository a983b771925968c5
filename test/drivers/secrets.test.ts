import { describe, expect, it } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { redact, secretValue } from '../../src/drivers/secrets.ts';

describe('a secret', () => {
  it('is the value of an environment variable, or of a file without its last line break', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tandem-secret-'));
    await writeFile(join(folder, 'key'), 'from a file\n\n');
    process.env['TANDEM_TEST_SECRET'] = ' as it is\n';
    expect(await secretValue({ fromEnv: 'TANDEM_TEST_SECRET' })).toBe(' as it is\n');
    expect(await secretValue({ fromFile: join(folder, 'key') })).toBe('from a file\n');
    await rm(folder, { recursive: true });
  });

  it.each([
    ['an unset variable', { fromEnv: 'TANDEM_TEST_UNSET' }, /TANDEM_TEST_UNSET is not set/],
    ['an empty variable', { fromEnv: 'TANDEM_TEST_EMPTY' }, /TANDEM_TEST_EMPTY is empty/],
    ['a missing file', { fromFile: '/nonexistent/key' }, /\/nonexistent\/key cannot be read .*ENOENT/],
    ['an empty file', { fromFile: '/dev/null' }, /\/dev\/null is empty/],
  ])('that is %s is SECRET_MISSING, and the error names this machine', async (_, ref, message) => {
    process.env['TANDEM_TEST_EMPTY'] = '';
    await expect(secretValue(ref)).rejects.toMatchObject({
      code: 'SECRET_MISSING',
      message: expect.stringMatching(message) as unknown,
      remedy: expect.stringContaining(hostname()) as unknown,
      retryable: false,
    });
  });

  it('is redacted in every spelling, the longer one first', () => {
    const secrets = ['sk-12 34"', 'sk-12 34"-long', 'abc'];
    const text = `sk-12 34"-long ${JSON.stringify({ key: 'sk-12 34"' })} ${encodeURIComponent('sk-12 34"')} ${btoa('sk-12 34"')} abc`;
    expect(redact(text, secrets)).toBe('[redacted] {"key":"[redacted]"} [redacted] [redacted] abc');
  });
});
