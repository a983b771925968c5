import { describe, expect, it } from '@jest/globals';
import { canonicalJson, digestOf, specDigest } from '../../src/spec/canonical.ts';
import { aSpec } from '../support/specs.ts';

describe('canonical JSON', () => {
  it.each([
    [
      'keys are sorted at every depth',
      { b: { d: 1, c: 2 }, a: [{ f: 1, e: 2 }] },
      '{"a":[{"e":2,"f":1}],"b":{"c":2,"d":1}}',
    ],
    ['keys are sorted by code unit', { é: 1, z: 2, Z: 3, '10': 4, '9': 5 }, '{"10":4,"9":5,"Z":3,"z":2,"é":1}'],
    ['lists keep their order', [3, 1, 2], '[3,1,2]'],
    ['undefined keys are left out', { a: undefined, b: null }, '{"b":null}'],
    ['strings are escaped as JSON', { 'a"b': 'line\nfeed' }, '{"a\\"b":"line\\nfeed"}'],
    ['scalars stand alone', 'x', '"x"'],
  ])('%s', (_title, value, text) => {
    expect(canonicalJson(value)).toBe(text);
  });

  it.each([
    [Number.NaN, 'Expected a JSON value, got NaN'],
    [Number.POSITIVE_INFINITY, 'Expected a JSON value, got Infinity'],
    [[undefined], 'Expected a JSON value, got undefined'],
    [{ a: 1n }, 'Expected a JSON value, got bigint'],
  ])('refuses %p, which JSON cannot carry', (value, message) => {
    expect(() => canonicalJson(value)).toThrow(new TypeError(message));
  });
});

describe('the digest', () => {
  it('is the sha256 of the canonical text', () => {
    // Reference: printf '{"a":1}' | sha256sum
    expect(digestOf({ a: 1 })).toBe('sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862');
  });

  it('of a spec stays the same when a default is written out, and changes with any value', () => {
    expect(specDigest(aSpec({ site: 'default' }))).toBe(specDigest(aSpec()));
    expect(specDigest(aSpec({ decode: { replicas: 2 } }))).not.toBe(specDigest(aSpec()));
  });
});
