import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { assertSafe, parseManifest, parseSums, wanting } from '../../src/drivers/weights/files.ts';
import { parseSource, withRevision } from '../../src/drivers/weights/source.ts';

describe('model.source', () => {
  it.each([
    [
      'hf://Qwen/Qwen2.5-72B@abc',
      { kind: 'hub', endpoint: 'https://huggingface.co', id: 'Qwen/Qwen2.5-72B', revision: 'abc' },
    ],
    ['hf://gpt2', { kind: 'hub', endpoint: 'https://huggingface.co', id: 'gpt2', revision: 'main' }],
    ['hf://a/b@refs/pr/1', { kind: 'hub', endpoint: 'https://huggingface.co', id: 'a/b', revision: 'refs/pr/1' }],
    ['https://mirror.lan/m', { kind: 'web', base: 'https://mirror.lan/m/' }],
    ['http://127.85.0.1:81/m/', { kind: 'web', base: 'http://127.85.0.1:81/m/' }],
    ['rsync://store/models/x', { kind: 'rsync', base: 'rsync://store/models/x/' }],
    ['file:///mnt/x', { kind: 'file', folder: '/mnt/x' }],
    ['file://~/x', { kind: 'file', folder: '~/x' }],
  ])('%s is understood', (source, read) => expect(parseSource(source)).toEqual(read));

  it.each([
    ['s3://bucket/x', /none of hf/],
    ['hf://a/b/c', /none of hf/],
    ['hf://a/b@', /none of hf/],
    ['file://host/x', /none of hf/],
    ['rsync://store', /none of hf/],
    ['http://10.0.0.1/x', /not https/],
    ['http://127.0.0.1.evil.example/x', /not https/],
    ['https://', /no https:\/\/ address/],
    ['https://host/x?sig=1', /query/],
  ])('%s is refused', (source, message) => expect(() => parseSource(source)).toThrow(message));

  it('with a login is refused without repeating it', () => {
    const refused = () => parseSource('https://ops:s3cr3t@mirror.lan/m');
    expect(refused).toThrow(/login/);
    expect(refused).not.toThrow(/s3cr3t|ops/);
  });

  it('has its mirror checked like a source', () => {
    expect(() => parseSource('hf://a/b', 'http://mirror.lan')).toThrow(/not https/);
    expect(parseSource('hf://a/b', 'https://mirror.lan/hub/')).toMatchObject({ endpoint: 'https://mirror.lan/hub' });
  });

  it('takes a revision where it has one', () => {
    expect(withRevision('hf://a/b@main', 'c0ffee')).toBe('hf://a/b@c0ffee');
    expect(withRevision('https://mirror.lan/m/', 'c0ffee')).toBe('https://mirror.lan/m/');
  });
});

describe('a listing', () => {
  it('whose paths pass never leaves its folder, whatever the paths are', () => {
    const part = fc.oneof(
      fc.constantFrom('..', '.', '', 'a', 'b.safetensors'),
      fc.string({ unit: 'binary', maxLength: 4 }),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const path = parts.join('/');
        try {
          assertSafe([{ path }]);
        } catch {
          return;
        }
        expect(new URL(`file:///base/${path.split('/').map(encodeURIComponent).join('/')}`).pathname).toMatch(
          /^\/base\/./,
        );
        expect(path.split('/')).not.toContain('..');
        expect(JSON.parse(`"${path}"`)).toBe(path); // As the program writes it into the mark.
        expect(path).not.toMatch(/[\t\n\0]/); // As the manifest's rows carry it.
      }),
      { numRuns: 2000 },
    );
  });

  it('that names a file twice is refused', () =>
    expect(() => assertSafe([{ path: 'a' }, { path: 'a' }])).toThrow(/"a" is listed twice/));

  it('of sums is read as sha256sum writes it', () => {
    const sum = 'A'.repeat(64);
    const value = 'a'.repeat(64);
    expect(parseSums(`# made by ops\n${sum}  a b.txt\r\n${sum} *./c\n`)).toEqual([
      { path: 'a b.txt', hash: { algorithm: 'sha256', value } },
      { path: 'c', hash: { algorithm: 'sha256', value } },
    ]);
  });

  it.each([
    '',
    '{"files":[]}',
    '[]',
    '{"files":[{"path":"a","size":-1,"sha256":"x"}]}',
    '{"files":[{"path":"a","size":1}]}',
    '{"files":[{"path":"a","size":1,"sha256":"zz"}]}',
  ])('as the manifest %j is refused', (text) =>
    expect(() => parseManifest('manifest.json', text)).toThrow(SyntaxError),
  );

  it('lacks nothing when it has config.json and weights that are as big as their tensors', () => {
    const files = [
      { path: 'config.json', size: 2 },
      { path: 'a.safetensors', size: 10 },
    ];
    const index = (total: number) =>
      JSON.stringify({ metadata: { total_size: total }, weight_map: { w: 'a.safetensors' } });
    expect(wanting(files, undefined)).toBeUndefined();
    expect(wanting(files, index(10))).toBeUndefined();
    expect(wanting(files, index(11))).toMatch(/cut short/);
    expect(wanting(files, '{"weight_map":{"w":"b.safetensors"}}')).toMatch(/1 of 1 shards/);
    expect(() => wanting(files, '{}')).toThrow(/no weight_map/);
  });
});
