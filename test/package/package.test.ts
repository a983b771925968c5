import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { ROOT } from '../support/cli.ts';
import { buildContext, stagesOf, type Instruction } from './dockerfile.ts';

/**
 * `npm run test:package`: the package that the Dockerfile's steps build, installed by another user, who cannot read what
 * it was built from, since that is gone by then. No image can be pulled where this runs: its steps are followed here.
 */
const suite = process.env['TANDEM_PACKAGE'] === undefined || userInfo().uid !== 0 ? describe.skip : describe;
const BUILD_MS = 600_000;
const USER = 'nobody';

let home: string;
let tarball: string;
const ends: (() => Promise<unknown>)[] = [];

async function idOf(flag: string): Promise<number> {
  return Number((await execa('id', [flag, USER])).stdout);
}

/** Runs a command as the other user, in a folder of his own. */
const asUser = (argv: readonly string[], { cwd = home, env = {} }: { cwd?: string; env?: object } = {}) =>
  execa('setpriv', ['--reuid', USER, '--regid', 'nogroup', '--clear-groups', ...argv], {
    cwd,
    env: { PATH: process.env['PATH'], HOME: home, npm_config_cache: join(home, '.npm'), ...registry(), ...env },
    extendEnv: false,
    reject: false,
  });

/** Where packages come from is a setting of the machine. */
const registry = () =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) =>
      /^(?:npm_config_registry|.*_proxy|NODE_EXTRA_CA_CERTS)$/i.test(name),
    ),
  );

/** Follows the steps of the stage that packs: what it copies, and what it runs. The packages of this checkout stand for `npm ci`. */
async function pack(root: string, steps: readonly Instruction[]): Promise<string> {
  const context = await buildContext(ROOT);
  const into = join(root, 'source');
  await mkdir(into, { recursive: true });
  for (const { word, rest } of steps) {
    const args = rest.split(' ');
    if (word === 'COPY')
      for (const name of args.slice(0, -1))
        for (const one of name === '.' ? context : [name]) {
          expect(context).toContain(one); // What .dockerignore keeps out cannot be copied.
          await cp(join(ROOT, one), join(into, one), { recursive: true });
        }
    else if (word === 'RUN' && rest === 'npm ci') await linkPackages(join(into, 'node_modules'));
    else if (word === 'RUN') await execa('sh', ['-c', rest.replace('/tmp', root)], { cwd: into });
    else expect([word, rest]).toEqual(['WORKDIR', '/source']);
  }
  const [packed] = (await readdir(root)).filter((name) => name.endsWith('.tgz'));
  return join(root, packed!);
}

async function linkPackages(into: string): Promise<void> {
  await mkdir(into);
  const from = join(ROOT, 'node_modules');
  const names = (await readdir(from)).filter((name) => name !== '.cache');
  await execa('cp', ['-al', ...names.map((name) => join(from, name)), into]);
}

suite('the package', () => {
  beforeAll(async () => {
    // The folders of this run, through which the other user comes to his own.
    for (const above of [tmpdir(), dirname(tmpdir())]) if (above !== '/tmp' && above !== '/') await chmod(above, 0o711);
    home = await mkdtemp(join(tmpdir(), 'tandem-package-'));
    ends.push(() => rm(home, { recursive: true, force: true }));
    await chown(home, await idOf('-u'), await idOf('-g'));
    // In the checkout, whose packages it shares by hard links, and not in node_modules, where tsc emits no JSON.
    await mkdir(join(ROOT, '.tandem'), { recursive: true });
    const root = await mkdtemp(join(ROOT, '.tandem', 'package-'));
    ends.push(() => rm(root, { recursive: true, force: true }));
    await chmod(root, 0o700);
    const [build] = await stagesOf(ROOT);
    const packed = await pack(root, build!.steps);
    tarball = join(home, 'tandem.tgz');
    await cp(packed, tarball);
    await chmod(tarball, 0o644);
    await rm(root, { recursive: true, force: true });
  }, BUILD_MS);
  afterAll(async () => {
    for (const end of ends) await end();
  }, BUILD_MS);

  it('has a shrinkwrap without what only builds and tests, and without a registry', async () => {
    const { stdout } = await execa('tar', ['-xzOf', tarball, 'package/npm-shrinkwrap.json']);
    const { packages } = JSON.parse(stdout) as { packages: Record<string, { dev?: boolean; version?: string }> };
    const { packages: locked } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { dev?: boolean; version?: string }>;
    };
    const wanted = Object.keys(locked).filter((path) => !locked[path]!.dev);
    expect(Object.keys(packages)).toEqual(wanted);
    expect(stdout).not.toMatch(/"resolved"|"dev": true|registry/);
  });

  describe('installed in an empty folder by another user', () => {
    let folder: string;
    beforeAll(async () => {
      folder = join(home, 'installed');
      await asUser(['mkdir', folder]);
      const { exitCode, stderr } = await asUser(['npm', 'install', '--no-fund', '--no-audit', tarball], {
        cwd: folder,
      });
      expect([exitCode, exitCode === 0 ? '' : stderr]).toEqual([0, '']);
    }, BUILD_MS);

    const tandem = (args: readonly string[], env = {}) =>
      asUser([join(folder, 'node_modules/.bin/tandem'), ...args], { cwd: folder, env });

    it('has the very versions that were tested', async () => {
      const { packages } = JSON.parse(await readFile(join(ROOT, 'package-lock.json'), 'utf8')) as {
        packages: Record<string, { version: string }>;
      };
      for (const name of ['@temporalio/worker', 'undici', 'protobufjs', '@grpc/grpc-js']) {
        const at = ['node_modules/tandem/node_modules', 'node_modules'].map((part) => join(folder, part, name));
        const found = await Promise.all(at.map((path) => readFile(join(path, 'package.json'), 'utf8').catch(() => '')));
        const { version } = JSON.parse(found.find((text) => text !== '')!) as { version: string };
        expect([name, version]).toEqual([name, packages[`node_modules/${name}`]!.version]);
      }
    });

    it('says its help, judges a spec and prints the schema', async () => {
      expect(await tandem(['--help'])).toMatchObject({ exitCode: 0, stderr: '' });
      const spec = join(folder, 'node_modules/tandem/specs/demo.yaml');
      expect(await tandem(['validate', spec])).toMatchObject({ exitCode: 0, stdout: `${spec}: valid` });
      const { stdout } = await tandem(['schema']);
      expect(JSON.parse(stdout)).toEqual(JSON.parse(await readFile(join(ROOT, 'specs/schema.json'), 'utf8')));
    }, 120_000);

    it('starts a worker, which loads its native core and says that no server is there', async () => {
      expect(await tandem(['worker'], { TEMPORAL_ADDRESS: '127.0.0.1:1' })).toMatchObject({
        exitCode: 4,
        stderr: expect.stringMatching(/^TEMPORAL_UNREACHABLE: the Temporal server at 127\.0\.0\.1:1 /),
      });
    }, 120_000);

    it(
      'brings up a local stack once the programs are there that it names the commands for',
      async () => {
        const lacking = await tandem(['local', 'up', '--json']);
        const { error } = JSON.parse(lacking.stdout) as { error: { code: string; message: string; remedy: string } };
        expect([lacking.exitCode, error.code]).toEqual([2, 'USAGE']);
        const [line] = /python3 -m venv [^`]+/.exec(error.remedy)!;
        const pip = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('PIP_')));
        const made = await asUser(['sh', '-c', line], { cwd: folder, env: pip });
        expect([made.exitCode, made.exitCode === 0 ? '' : made.stderr]).toEqual([0, '']);
        try {
          expect(await tandem(['local', 'up', '--demo'])).toMatchObject({ exitCode: 0 });
          expect(JSON.parse((await tandem(['status', 'demo', '--json'])).stdout)).toMatchObject({ state: 'serving' });
        } finally {
          await tandem(['local', 'down']);
        }
      },
      BUILD_MS,
    );
  });

  it(
    'is what the image runs: its steps install it, and its entry point is on PATH',
    async () => {
      const [, image] = await stagesOf(ROOT);
      const install = image!.steps.find(({ word, rest }) => word === 'RUN' && rest.startsWith('npm install'))!;
      const prefix = join(home, 'usr');
      await writeFile(join(home, 'tandem-0.0.0.tgz'), await readFile(tarball), { mode: 0o644 });
      const line = install.rest.replaceAll('/tmp/tandem-*.tgz', join(home, 'tandem-*.tgz'));
      const { exitCode, stderr } = await asUser(['sh', '-c', `umask 022; mkdir -p ${prefix}/lib; ${line}`], {
        env: { npm_config_prefix: prefix },
      });
      expect([exitCode, exitCode === 0 ? '' : stderr]).toEqual([0, '']);
      const wordOf = (wanted: string) => JSON.parse(image!.steps.find(({ word }) => word === wanted)!.rest) as string[];
      const path = `${prefix}/bin:${process.env['PATH']}`;
      const started = await asUser([...wordOf('ENTRYPOINT'), ...wordOf('CMD')], {
        env: { PATH: path, TEMPORAL_ADDRESS: '127.0.0.1:1' },
      });
      expect(started).toMatchObject({ exitCode: 4, stderr: expect.stringMatching(/^TEMPORAL_UNREACHABLE/) });
    },
    BUILD_MS,
  );
});
