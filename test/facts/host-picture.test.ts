import { describe, expect, it } from '@jest/globals';
import { differences, hostPicture, unitRow, withEntries, type HostPicture } from '../../src/facts/host-picture.ts';

const picture = (things: Parameters<typeof hostPicture>[1]): HostPicture => hostPicture('gpu-a', things, []);
const EMPTY = picture({});
const names = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `/s/${String(from + index).padStart(4, '0')}`);

describe('a host picture', () => {
  it('is the same text whatever the order in which things were found', () => {
    const one = hostPicture('gpu-a', { file: ['/b', '/a'], container: [unitRow('x', true)] }, [
      { kind: 'weights', what: '/w', bytes: 2 },
      { kind: 'image', what: 'i', bytes: 1 },
    ]);
    const other = hostPicture('gpu-a', { container: ['x runs'], file: ['/a', '/b', '/a'] }, [
      { kind: 'image', what: 'i', bytes: 1 },
      { kind: 'weights', what: '/w', bytes: 2 },
    ]);
    expect(JSON.stringify(one)).toBe(JSON.stringify(other));
  });

  it('leaves out kinds that have nothing', () => {
    expect(picture({ file: [], lease: [] })).toEqual({ host: 'gpu-a', things: {}, kept: [] });
  });

  it('lists 200 rows of a kind and counts the rest', () => {
    const { file } = picture({ file: names(0, 1234) }).things;
    expect(file).toHaveLength(201);
    expect(file!.at(-1)).toBe('and 1034 more');
    expect(picture({ file: names(0, 200) }).things.file).toEqual(names(0, 200));
  });

  it('takes the entries of a router, and keeps what was cut off', () => {
    const before = picture({ file: names(0, 300) });
    const after = withEntries(before, ['http://b', 'http://a']);
    expect(after.things).toEqual({ ...before.things, 'router-entry': ['http://a', 'http://b'] });
    expect(withEntries(before, [])).toEqual(before);
  });
});

describe('the differences of two pictures', () => {
  it('are none when nothing changed', () => {
    const full = picture({ file: names(0, 500), container: [unitRow('x', true)], lease: ['a'] });
    expect(differences(full, full)).toEqual([]);
    expect(differences(EMPTY, EMPTY)).toEqual([]);
  });

  it('name what is there and was not as left', () => {
    expect(differences(EMPTY, picture({ lease: ['l'], container: [unitRow('x', false)] }))).toEqual([
      { host: 'gpu-a', kind: 'container', what: 'x does not run', change: 'left' },
      { host: 'gpu-a', kind: 'lease', what: 'l', change: 'left' },
    ]);
  });

  it('name what was there and is not as gone', () => {
    const before = picture({ 'router-entry': ['http://a under key k'], job: [unitRow('x', true)] });
    expect(differences(before, EMPTY)).toEqual([
      { host: 'gpu-a', kind: 'job', what: 'x', change: 'gone' },
      { host: 'gpu-a', kind: 'router-entry', what: 'http://a under key k', change: 'gone' },
    ]);
  });

  it('name a unit once that ran and does not any more', () => {
    const [ran, stands] = [picture({ container: [unitRow('x', true)] }), picture({ container: [unitRow('x', false)] })];
    expect(differences(ran, stands)).toEqual([
      { host: 'gpu-a', kind: 'container', what: 'x no longer runs', change: 'gone' },
    ]);
    expect(differences(stands, ran)).toEqual([
      { host: 'gpu-a', kind: 'container', what: 'x runs, and did not', change: 'left' },
    ]);
  });

  it('without a picture from before count everything as left', () => {
    const after = picture({ process: ['4 sh'], file: ['/a'], mount: ['/m'] });
    expect(differences(undefined, after).map(({ kind, change }) => `${kind} ${change}`)).toEqual([
      'process left',
      'file left',
      'mount left',
    ]);
  });

  it('do not name what a cut off list merely no longer shows', () => {
    const before = picture({ file: names(1, 251) });
    expect(differences(before, picture({ file: ['/s/0000', ...names(1, 251)] }))).toEqual([
      { host: 'gpu-a', kind: 'file', what: '/s/0000', change: 'left' },
    ]);
  });

  it('count what changed beyond a cut off list', () => {
    expect(differences(picture({ file: names(0, 300) }), picture({ file: names(0, 290) }))).toEqual([
      { host: 'gpu-a', kind: 'file', what: '10 that are not listed', change: 'gone' },
    ]);
    expect(differences(EMPTY, picture({ file: names(0, 203) })).at(-1)).toEqual({
      host: 'gpu-a',
      kind: 'file',
      what: '3 that are not listed',
      change: 'left',
    });
  });
});
