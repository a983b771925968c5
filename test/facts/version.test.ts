import { describe, expect, it } from '@jest/globals';
import { normaliseProduct } from '../../src/facts/products.ts';
import { satisfies } from '../../src/facts/version.ts';

describe('a version in a range', () => {
  it.each([
    ['6.12.12', '>=6.10', true],
    ['6.9', '>=6.10', false],
    ['6.10', '>=6.10', true],
    ['6.10.5-2041575.22.04', '>=6.10.5', true],
    ['24.6.2.0', '>=24.6.2', true],
    ['24.6.2.1', '>24.6.2.0', true],
    ['24.6.2.1', '<=24.6.2.0', false],
    ['6.2.4', '>=6.3', false],
    ['6.3.4', '=6.3', true],
    ['7.0.0', '>= 6.3 < 7', false],
    ['7.1.2', '^7.0', true],
    ['6.4.9', '~6.3', false],
    ['17.06.2-ee-15', '>=17.06', true],
    ['v28.2.2', '>=20.10', true],
    ['N/A', '>=0', false],
    ['', '>=0', false],
  ])('%s in %s is %s', (version, range, inside) => {
    expect(satisfies(version, range)).toBe(inside);
  });
});

describe('a product', () => {
  it.each([
    ['AMD Instinct MI300X OAM', undefined, 'MI300X'],
    ['MI300X-O', undefined, 'MI300X'],
    ['AMD Instinct Mi325X VF', '0x74b9', 'MI325X'],
    ['Aqua Vanjaram [Instinct MI300A]', undefined, 'MI300A'],
    ['AMD INSTINCT MI250 (MCM) OAM AC MBA', undefined, 'MI250'],
    ['0x740f', undefined, 'MI210'],
    ['AMD Instinct MI300X', '0x74A2', 'MI308X'],
    ['AMD Radeon Graphics', '0x164e', 'AMD Radeon Graphics'],
    ['0xbeef', undefined, undefined],
    [undefined, '0xbeef', undefined],
    [undefined, undefined, undefined],
  ])('named %s with id %s is %s', (name, deviceId, product) => {
    expect(normaliseProduct(name, deviceId)).toBe(product);
  });
});
