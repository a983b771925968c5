import { describe, expect, it } from '@jest/globals';
import { Answer } from '../../src/drivers/ssh/answer.ts';

const NONCE = '0123456789abcdef0123456789abcdef';
const BANNER = 'Welcome\n';
const OUT = `${BANNER}${NONCE} H /home/ops\n${NONCE} S 0\none 0123456789\n${NONCE} E 0 3 0\n${NONCE} S 1\ntwo${NONCE} E 1 0 1\n${NONCE} Z\nbye`;
const ERR = `${NONCE} S 0\nwarned${NONCE} E 0\n${NONCE} S 1\n${NONCE} E 1\n${NONCE} Z\n`;

function read(size: number, out = OUT, err = ERR): Answer {
  const answer = new Answer(NONCE, 2, 1024);
  for (const [stream, text] of [
    [answer.stdout, out],
    [answer.stderr, err],
  ] as const) {
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += size) stream.push(bytes.subarray(at, at + size));
  }
  return answer;
}

describe('an answer of a host', () => {
  it.each([1, 2, 31, 32, 33, 50, 1_000])('is read alike in chunks of %d bytes', (size) => {
    const answer = read(size);
    expect(answer.outputs()).toEqual([
      { stdout: 'one 0123456789\n', stderr: 'warned', exitCode: 3, timedOut: false },
      { stdout: 'two', stderr: '', exitCode: 0, timedOut: true },
    ]);
    expect(answer).toMatchObject({ begun: true, complete: true, home: '/home/ops' });
    expect(answer.stdout.otherText()).toBe(`${BANNER}bye`);
  });

  it.each([1, 100, 20_000])('whose mark never ends is text, in chunks of %d bytes', (size) => {
    const long = `${NONCE} ${'x'.repeat(10_000)}\n`;
    const answer = read(size, `${NONCE} S 0\n${long}${NONCE} E 0 0 0\n${NONCE} Z\n`, ERR);
    expect(answer.complete).toBe(true);
    expect(answer.outputs()[0]).toMatchObject({ stdout: long.slice(0, 1024), exitCode: 0, truncated: true });
  });
});
