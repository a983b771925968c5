import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { requestProblem, utf8Bytes } from '../../src/text/limits.ts';

describe('the texts of a request', () => {
  it('are measured in bytes of UTF-8, as the database does', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => utf8Bytes(text) === Buffer.byteLength(text)));
  });

  it.each([
    ['an actor of 255 bytes', { actor: 'x'.repeat(255) }, undefined],
    ['an actor of 256 bytes', { actor: 'x'.repeat(256) }, 'actor has 256 bytes, at most 255 are taken'],
    [
      'an actor of 100 characters and 300 bytes',
      { actor: '模'.repeat(100) },
      'actor has 300 bytes, at most 255 are taken',
    ],
    ['an actor without a letter', { actor: '  ' }, 'actor is empty, a name is wanted'],
    [
      'an actor that turns text around',
      { actor: 'a\u202eb' },
      'actor holds a control character, a name in plain text is wanted',
    ],
    [
      'an actor with a line break',
      { actor: 'a\nb' },
      'actor holds a control character, a name in plain text is wanted',
    ],
    ['a reason of 1,024 bytes over two lines', { reason: `a\n${'x'.repeat(1_022)}` }, undefined],
    ['a reason of 1,025 bytes', { reason: 'x'.repeat(1_025) }, 'reason has 1025 bytes, at most 1024 are taken'],
    [
      'a path of 1,025 bytes',
      { memo: { specPath: 'x'.repeat(1_025) } },
      'specPath has 1025 bytes, at most 1024 are taken',
    ],
    ['a long ticket', { memo: { ticket: 'x'.repeat(9_000) } }, 'ticket has 9000 bytes, at most 1024 are taken'],
    ['nothing', {}, undefined],
  ])('%s', (_, texts, wanted) => {
    const found = requestProblem(texts);
    expect(found && `${found.field} ${found.problem}`).toBe(wanted);
  });
});
