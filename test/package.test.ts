import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { ROOT } from './support/cli.ts';
import { buildContext, stagesOf } from './package/dockerfile.ts';

/** What `npm pack` gives, as far as it can be told without packing; `npm run test:package` installs it as somebody else. */
interface Packed {
  readonly files: readonly { readonly path: string }[];
}

const manifest = async () =>
  JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    readonly engines: { readonly node: string };
    readonly scripts: Record<string, string>;
  };

describe('the package', () => {
  it('has the bundle, the CLI, the worker and the specs, and neither sources, tests nor source maps', async () => {
    const { stdout } = await execa('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT });
    const paths = (JSON.parse(stdout) as [Packed])[0].files.map(({ path }) => path);
    const needed = [
      'dist/src/cli/main.js',
      'dist/src/worker.js',
      'dist/src/sim/main.js',
      'dist/workflow-bundle.js',
      'scripts/requirements.txt',
      'specs/demo.yaml',
      'LICENSE',
      'README.md',
    ];
    expect(needed.filter((path) => !paths.includes(path))).toEqual([]);
    // And nothing that an operator keeps beside it: deploy/worker.env has secrets.
    expect(paths.filter((path) => /^deploy\/[^/]+$/.test(path))).toEqual(['deploy/env.example']);
    expect(paths.filter((path) => /(?:^|\/)(?:test|bench|chaos)\/|\.(?:ts|map|py)$/.test(path))).toEqual([]);
  }, 60_000);

  it('names no folder of the machine it was built on, in source maps neither', async () => {
    const bundle = await readFile(join(ROOT, 'dist', 'workflow-bundle.js'), 'utf8');
    const [, map] = /sourceMappingURL=data:application\/json[^,]*;base64,([\w+/=]+)/.exec(bundle)!;
    const { sources } = JSON.parse(Buffer.from(map!, 'base64').toString()) as { readonly sources: readonly string[] };
    expect(sources.length).toBeGreaterThan(10);
    const parts = {
      bundle,
      sources: sources.join('\n'),
      cli: await readFile(join(ROOT, 'dist/src/cli/main.js'), 'utf8'),
    };
    for (const [name, part] of Object.entries(parts)) expect([name, part.includes(ROOT)]).toEqual([name, false]);
  });
});

describe('the Dockerfile', () => {
  it('builds from the package, on the long-term release of Node.js that the quick tests run on', async () => {
    const [build, image] = await stagesOf(ROOT);
    const steps = (stage = build) => stage!.steps.map(({ word, rest }) => `${word} ${rest}`);
    expect(steps()).toContain('RUN npm pack --pack-destination /tmp');
    expect(steps(image).filter((step) => step.startsWith('COPY'))).toEqual([
      'COPY --from=build /tmp/tandem-*.tgz /tmp/',
    ]);
    const [, release] = /^node:(24\.\d+\.\d+)-/.exec(image!.image)!;
    expect(build!.image).toBe(image!.image);
    const script = await readFile(join(ROOT, 'scripts', 'test-node.sh'), 'utf8');
    expect(/RELEASES='(.*)'/.exec(script)![1]!.split(' ')).toContain(release);
  });

  it('is given what the package is made of, and no key, .env or test', async () => {
    const context = await buildContext(ROOT);
    const needed = [
      'package.json',
      'package-lock.json',
      '.npmrc',
      'src',
      'workflows',
      'activities',
      'scripts',
      'specs',
    ];
    expect(needed.filter((name) => !context.includes(name))).toEqual([]);
    expect(context.filter((name) => /^(?:\.env|\.git|test|node_modules|dist)/.test(name))).toEqual([]);
  });
});

describe('the supported releases of Node.js', () => {
  it('are the same in package.json, README and what checks them', async () => {
    expect((await manifest()).engines.node).toBe('^20.19 || ^22.12 || ^24');
    expect(await readFile(join(ROOT, 'README.md'), 'utf8')).toContain(
      'Node.js 20.19 or later of 20, 22.12 or later of 22, or 24',
    );
    const check = await readFile(join(ROOT, 'scripts', 'setup.sh'), 'utf8');
    expect(check).toContain('Install Node.js 20.19 or later of 20, 22.12 or later of 22, or 24.');
  });
});
