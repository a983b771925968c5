// Lets Node run the TypeScript sources as they are: tests start processes from them without a build.
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { transform } from '@swc/core';

if (import.meta.url.endsWith('?hooks') === false) register(`${import.meta.url}?hooks`);

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const source = await readFile(new URL(url), 'utf8');
  const { code } = await transform(source, {
    jsc: { target: 'es2022', parser: { syntax: 'typescript' }, experimental: { keepImportAttributes: true } },
    module: { type: 'es6' },
    filename: url,
    swcrc: false,
  });
  return { format: 'module', source: code, shortCircuit: true };
}
