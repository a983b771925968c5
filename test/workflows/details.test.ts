import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { marked } from 'marked';
import { code, codeCell } from '../../src/text/markdown.ts';
import { describeProgress } from '../../workflows/details.ts';
import type { OperationProgress } from '../../src/operations/progress.ts';

/** What Markdown would make of a text that a host, a file or a person wrote. */
const HOSTILE = [
  '[click](https://evil.example)',
  '![](https://evil.example/x.png)',
  'https://evil.example and www.evil.example and ops@evil.example',
  '<img src=x onerror=alert(1)> <script>alert(1)</script> <!-- -->',
  '# heading',
  '\n\n# heading\n\n- list\n\n1. list\n\n> quote\n\n---\n\n    code\n',
  '| a | b |\n|---|---|\n| 1 | 2 |',
  '`` ` `` ``` code',
  '```\nfence',
  '**bold** _emphasis_ ~~gone~~',
  '[ref]: https://evil.example\n[ref]',
  '\\`[x](https://evil.example)\\`',
  '\u001b]8;;https://evil.example\u0007x\u202e',
  'Title\n===',
  '&lt;b&gt; &#35;',
];

const progressWith = (text: string): OperationProgress => ({
  cluster: text,
  operation: 'deploy',
  deployment: 1,
  actor: text,
  outcome: 'stuck',
  stage: text,
  steps: [{ name: text, state: 'failed', done: 1, of: 2 }],
  findings: [{ check: text, host: text, peer: text, verdict: 'fail', evidence: text, remedy: text }],
  findingsInAll: 1,
  warnings: [text],
  failed: { step: text, host: text, code: text, message: text, evidence: text, remedy: text },
  leftBehind: [text],
  difference: [],
  kept: [text],
  logs: [{ host: text, unit: text, path: text }],
});

const tagsOf = (markdown: string) =>
  [...(marked.parse(markdown, { gfm: true }) as string).matchAll(/<\/?[a-z][^>]*>/g)].map(([tag]) => tag);
const PLAIN = tagsOf(describeProgress(progressWith('plain')));

describe('the details of an operation in the Temporal UI', () => {
  it.each(HOSTILE.map((text) => [JSON.stringify(text), text]))('show %s and never follow it', (_, text) => {
    expect(tagsOf(describeProgress(progressWith(text)))).toEqual(PLAIN);
  });

  it('have the same structure whatever the text is made of', () => {
    const parts = fc.constantFrom(
      '`',
      '``',
      '[',
      ']',
      '(',
      ')',
      '!',
      '<b>',
      '|',
      '\n',
      '\n\n',
      '#',
      '*',
      '\\',
      ' ',
      'a',
      '-',
      '>',
    );
    fc.assert(
      fc.property(fc.array(parts, { minLength: 1, maxLength: 12 }), (all) => {
        const text = `a${all.join('')}b`;
        expect(tagsOf(describeProgress(progressWith(text)))).toEqual(PLAIN);
      }),
    );
  });

  it('say the text itself', () => {
    const html = marked.parse(code('a <b> `x` [y](z)\n|')) as string;
    expect(html).toBe('<p><code>a &lt;b&gt; `x` [y](z) |</code></p>\n');
    expect(codeCell('a|b')).toBe('`a│b`');
    expect(code('')).toBe('');
  });
});
