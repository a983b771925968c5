import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import { mirrored, resolveImage } from '../../src/drivers/images.ts';
import type { Drivers, Host, Runtime, UnitSpec } from '../../src/drivers/types.ts';
import { patientSeconds } from '../support/patience.ts';
import { aContainer } from '../support/plan-rows.ts';
import { textOf, until } from '../support/processes.ts';
import { startTestServer, type TestServer } from '../support/ssh-server.ts';

let folder: string;
let drivers: Drivers;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-docker-'));
  drivers = createDrivers({ runtimeDir: join(folder, 'r') });
});
afterAll(async () => {
  await drivers.close();
  await rm(folder, { recursive: true });
});

const unit = (more: Partial<UnitSpec> = {}, container: Partial<UnitSpec['container']> = {}): UnitSpec => ({
  name: 'tandem-qwen-prefill-0-1',
  labels: { 'tandem.cluster': 'qwen', 'tandem.engine': 'abc' },
  argv: ['sh', '-c', 'echo up; exec sleep 600'],
  env: {},
  stopTimeoutSeconds: 7,
  container: aContainer({ image: 'tandem-test:1', shmSizeGiB: 64, ...container }),
  ...more,
});

describe('containers by a docker program that answers as it is told', () => {
  // It writes down each call, with the variables it was given, and answers from files named by the command.
  const DOCKER = `#!/bin/sh
case $1 in container|image) verb=$1-$2 ;; *) verb=$1 ;; esac
if [ "$1" = run ]; then printf "%s\\0" "$@" >>"$HOME/argv"; printf "%s" "$HF_TOKEN" >"$HOME/token"; fi
if [ "$1" = login ]; then cat >"$HOME/password"; printf "%s" "$DOCKER_CONFIG" >"$HOME/config"; touch "$DOCKER_CONFIG/config.json"; fi
if [ "$1" = login ] && [ -e "$HOME/deadly" ]; then kill -s KILL "$PPID"; fi
echo "$*" >>"$HOME/calls"
if [ -e "$HOME/$verb.once" ]; then mv "$HOME/$verb.once" "$HOME/$verb.used"; cat "$HOME/$verb.used" >&2; exit 1; fi
[ -e "$HOME/$verb.out" ] && cat "$HOME/$verb.out"
[ -e "$HOME/$verb.err" ] && { cat "$HOME/$verb.err" >&2; exit "$(cat "$HOME/$verb.exit" 2>/dev/null || echo 1)"; }
exit 0
`;
  const GETENT = '#!/bin/sh\n[ "$2" = render ] && echo "render:x:992:ops"\n';
  let server: TestServer;
  let host: Host;
  let docker: Runtime;
  beforeEach(async () => {
    server = await startTestServer({ address: '127.81.8.1', programs: { docker: DOCKER, getent: GETENT } });
    host = drivers.host(server.ref);
    docker = host.runtime('docker');
    await answer('container-inspect.err', 'Error: No such container: x');
  });
  afterEach(() => server.close());
  const answer = (file: string, text: string) => writeFile(join(server.home, file), text);
  const calls = () => textOf(join(server.home, 'calls')).trim().split('\n');

  it('are run with every option of the plan, and secrets only in the environment', async () => {
    const container = {
      devices: ['/dev/kfd', '/dev/dri'],
      groups: ['video', 'render', '44'],
      capabilities: ['IPC_LOCK'],
      securityOptions: ['seccomp=unconfined'],
      ulimits: { memlock: -1 },
      mounts: [
        { source: '/models', target: '/models', readOnly: true },
        { source: '/a,b "c"', target: '/d', readOnly: false },
      ],
      hostIpc: false,
      shmSizeGiB: 1.5,
      imageId: 'sha256:123',
    };
    const secret = "hf_'secret'\nin two lines\n";
    await docker.start(unit({ env: { HF_TOKEN: secret, PATH: '/opt/bin' } }, container)).catch(() => {}); // Not inspected here.
    expect(textOf(join(server.home, 'argv')).split('\0').slice(0, -1)).toEqual(
      [
        [
          'run',
          '-d',
          '--name',
          'tandem-qwen-prefill-0-1',
          '--network',
          'host',
          '--restart',
          'no',
          '--stop-timeout',
          '7',
        ],
        ['--pull', 'never', '--log-driver', 'json-file', '--log-opt', 'max-size=100m', '--log-opt', 'max-file=3'],
        ['--label', 'tandem.cluster=qwen', '--label', 'tandem.engine=abc', '--shm-size', '1610612736'],
        [
          '--device',
          '/dev/kfd',
          '--device',
          '/dev/dri',
          '--group-add',
          'video',
          '--group-add',
          '992',
          '--group-add',
          '44',
        ],
        ['--cap-add', 'IPC_LOCK', '--security-opt', 'seccomp=unconfined', '--ulimit', 'memlock=-1'],
        ['--mount', 'type=bind,source=/models,target=/models,readonly'],
        ['--mount', 'type=bind,"source=/a,b ""c""",target=/d', '-e', 'HF_TOKEN', '-e', 'PATH=/opt/bin'],
        ['--entrypoint', 'sh', 'sha256:123', '-c', 'echo up; exec sleep 600'],
      ].flat(),
    );
    expect(textOf(join(server.home, 'token'))).toBe(secret);
  });

  it.each([
    ['the daemon does not run', 'Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?', 'COMMAND_FAILED', /daemon does not run/, true],
    ['the user may not use Docker', 'permission denied while trying to connect to the Docker daemon socket', 'COMMAND_FAILED', /may not use Docker/, false],
    ['the image is missing', "Unable to find image 'x' locally\ndocker: Error response from daemon: No such image: x", 'IMAGE_UNAVAILABLE', /image tandem-test:1 is not there/, false],
    ['a device is missing', 'docker: Error response from daemon: error gathering device information: no such file', 'COMMAND_FAILED', /docker run/, false],
  ])('that cannot be started say so: %s', async (_, stderr, code, message, retryable) => {
    await answer('run.err', stderr);
    await expect(docker.start(unit())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message) as unknown,
      retryable,
    });
    // A container that was made and not started does not keep its name.
    expect(calls()).toContain('rm -f -v tandem-qwen-prefill-0-1');
  }); // prettier-ignore

  it('name a host without docker', async () => {
    const path = join(server.home, 'bare');
    await mkdir(path);
    await symlink('/bin/sh', join(path, 'sh'));
    const bare = await startTestServer({ address: '127.81.8.2', loginShell: ['/bin/sh'], path });
    const find = drivers.host(bare.ref).runtime('docker').find({});
    await expect(find).rejects.toMatchObject({
      message: expect.stringContaining('docker is not installed') as unknown,
    });
    await bare.close();
  });

  const inspected = (labels: Record<string, string>, status: string) =>
    JSON.stringify([
      {
        Name: '/tandem-qwen-prefill-0-1',
        Path: 'sh',
        Args: ['-c'],
        Image: 'sha256:123',
        Config: { Labels: labels },
        State: { Status: status, Running: status === 'running', ExitCode: 137, OOMKilled: true, Pid: 5, StartedAt: '2026-01-01T00:00:00Z' },
      },
    ]); // prettier-ignore

  it('of the same name and labels are attached to, running or ended, and not run again', async () => {
    await rm(join(server.home, 'container-inspect.err'));
    await answer('container-inspect.out', inspected({ ...unit().labels, 'image.label': 'x' }, 'exited'));
    expect(await docker.start(unit())).toMatchObject({ running: false, exitCode: 137, oomKilled: true });
    expect(calls().filter((line) => line.startsWith('run'))).toEqual([]);
  });

  it('of the same name and other labels are a conflict', async () => {
    await rm(join(server.home, 'container-inspect.err'));
    await answer('container-inspect.out', inspected({ ...unit().labels, 'tandem.cluster': 'llama' }, 'running'));
    await expect(docker.start(unit())).rejects.toMatchObject({
      code: 'NAME_CONFLICT',
      message: expect.stringContaining('tandem.cluster=llama, wanted qwen') as unknown,
    });
  });

  it('that another attempt started a moment before are attached to', async () => {
    await answer('container-inspect.once', 'Error: No such container: x');
    await rm(join(server.home, 'container-inspect.err'));
    await answer('container-inspect.out', inspected(unit().labels, 'running'));
    await answer(
      'run.err',
      'Conflict. The container name "/tandem-qwen-prefill-0-1" is already in use by container "1".',
    );
    expect(await docker.start(unit())).toMatchObject({ running: true, pid: 5 });
    expect(calls().filter((line) => line.startsWith('rm'))).toEqual([]);
  });

  it('that an attempt made and did not start are started', async () => {
    await rm(join(server.home, 'container-inspect.err'));
    await answer('container-inspect.out', inspected(unit().labels, 'created'));
    await docker.start(unit());
    expect(calls()).toContain('start tandem-qwen-prefill-0-1');
  });

  it('that are gone are fine to stop and to remove', async () => {
    await answer('stop.err', 'Error response from daemon: No such container: x');
    await answer('rm.err', 'Error: No such container: x');
    await docker.stop('x', { timeoutSeconds: 3 });
    await docker.remove('x');
    expect(calls()).toEqual(['stop -t 3 x', 'rm -f -v x']);
  });

  describe('images', () => {
    const request = { reference: 'reg.example:5000/sgl:1', policy: 'missing', pullTimeoutMs: 20_000 } as const;

    it('that are there are not pulled, unless the policy is always', async () => {
      await answer('image-inspect.out', 'sha256:77\n');
      expect(await resolveImage(host, request)).toEqual({ id: 'sha256:77' });
      expect(calls().filter((line) => line.startsWith('pull'))).toEqual([]);
      expect(await resolveImage(host, { ...request, policy: 'always' })).toEqual({ id: 'sha256:77' });
      expect(calls()).toContain('pull -q reg.example:5000/sgl:1');
    });

    it('leave no login behind where the command that pulls is killed', async () => {
      await answer('image-inspect.err', 'Error: No such image: reg.example:5000/sgl:1');
      await answer('deadly', '');
      const pulled = resolveImage(host, { ...request, login: { user: 'bob', password: 'pass word' } });
      await expect(pulled).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
      const config = textOf(join(server.home, 'config'));
      expect(config).toMatch(/\/tandem-/);
      expect(existsSync(config)).toBe(false);
    });

    it('are pulled with the password on stdin and a configuration that is gone afterwards', async () => {
      await answer('image-inspect.once', 'Error: No such image: reg.example:5000/sgl:1');
      await answer('image-inspect.out', 'sha256:77\n');
      const login = { user: 'bob', password: 'pass word' };
      expect(await resolveImage(host, { ...request, login })).toEqual({ id: 'sha256:77' });
      expect(calls()).toContain('login -u bob --password-stdin reg.example:5000');
      expect(textOf(join(server.home, 'password'))).toBe('pass word');
      const config = textOf(join(server.home, 'config'));
      expect(config).not.toBe('');
      await expect(readFile(join(config, 'config.json'))).rejects.toMatchObject({ code: 'ENOENT' });
    });

    it.each([
      ['never', undefined, 'engine.pull.policy is never', false, /engine\.pull\.$/],
      ['missing', 'manifest for x not found: manifest unknown', 'refused by its registry', false, /engine\.pull\.$/],
      [
        'missing',
        'Get "https://reg.example:5000/v2/": dial tcp: i/o timeout',
        'does not answer',
        true,
        /proxy, the Docker daemon must know it: .*daemon\.json/,
      ],
      ['missing', 'dial udp 10.0.0.2:53: connect: network is unreachable', 'does not answer', true, /daemon\.json/],
    ] as const)(
      'that cannot be had are IMAGE_UNAVAILABLE (%s, %s)',
      async (policy, stderr, message, retryable, remedy) => {
        await answer('image-inspect.err', 'Error: No such image: x');
        if (stderr) await answer('pull.err', stderr);
        await expect(resolveImage(host, { ...request, policy })).rejects.toMatchObject({
          code: 'IMAGE_UNAVAILABLE',
          message: expect.stringContaining(message) as unknown,
          remedy: expect.stringMatching(remedy) as unknown,
          retryable,
        });
      },
    );

    it.each([
      ['ubuntu:24.04', 'm.example/library/ubuntu:24.04'],
      ['rocm/sgl-dev:1', 'm.example/rocm/sgl-dev:1'],
      ['ghcr.io/a/b@sha256:1', 'm.example/a/b@sha256:1'],
      ['localhost/a', 'm.example/a'],
    ])('%s is %s at a mirror', (reference, wanted) => expect(mirrored(reference, 'm.example')).toBe(wanted));
  });
});

/** A Docker Engine that this machine can reach, by DOCKER_HOST or its usual socket. */
const engine = await execa('docker', ['version', '--format', '{{.Server.Version}}'], {
  reject: false,
  timeout: 10_000,
});
const real = engine.exitCode === 0 ? describe : describe.skip;
real(`containers of a real Docker Engine ${engine.stdout ?? ''}`, () => {
  let server: TestServer;
  let docker: Runtime;
  const name = `tandem-test-${process.pid}`;
  const mine = (script: string, more: Partial<UnitSpec> = {}, container: Partial<UnitSpec['container']> = {}) =>
    unit({ name, argv: ['/bin/sh', '-c', script], ...more }, container);
  beforeAll(async () => {
    const at = process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock';
    const { stdout: program } = await execa('sh', ['-c', 'command -v docker']);
    server = await startTestServer({
      address: '127.81.8.3',
      programs: { docker: `#!/bin/sh\nDOCKER_HOST=${at} exec ${program} "$@"\n` },
    });
    docker = drivers.host(server.ref).runtime('docker');
    await makeImage();
  });
  afterAll(async () => {
    await docker.remove(name);
    await execa('docker', ['rmi', '-f', 'tandem-test:1'], { reject: false });
    await server.close();
  });
  beforeEach(() => docker.remove(name));

  /** An image of a shell and what it needs, from this machine's own files. */
  async function makeImage(): Promise<void> {
    const root = join(folder, 'image');
    await mkdir(root);
    const { stdout: libraries } = await execa('sh', [
      '-c',
      'ldd /bin/sh /bin/sleep | grep -o "/[^ ]*lib[^ ]*" | sort -u',
    ]);
    await execa('sh', [
      '-c',
      'tar -chf - "$@" | tar -xf - -C "$0"',
      root,
      '/bin/sh',
      '/bin/sleep',
      ...libraries.split('\n'),
    ]);
    await execa('sh', ['-c', 'tar -cf - -C "$0" . | docker import - tandem-test:1', root]);
  }

  it('start once, show what they were given, log, stop, start again and go', async () => {
    const env = { TOKEN: "it's\n$(x)\n", EMPTY: '' };
    const spec = mine('echo "<$TOKEN>"; echo err >&2; trap "exit 3" TERM; n=6000; while [ $((n-=1)) -gt 0 ]; do sleep 0.1; done', { env }, {
      hostIpc: false,
      shmSizeGiB: 0.5,
      ulimits: { nofile: 1024 },
      mounts: [{ source: folder, target: '/given, "here"', readOnly: true }],
    }); // prettier-ignore
    const started = await docker.start(spec);
    expect(started).toMatchObject({ name, running: true, labels: spec.labels, argv: spec.argv });
    expect(started.imageId).toMatch(/^sha256:/);
    expect(await docker.start(spec)).toEqual(started);
    expect(await docker.find({ 'tandem.cluster': 'qwen', 'tandem.engine': 'abc' })).toEqual([started]);
    expect(await docker.find({ 'tandem.cluster': 'other' })).toEqual([]);
    await until('its log', async () => (await docker.logs(name, { tailLines: 10 })).includes('err'));
    expect(await docker.logs(name, { tailLines: 10 })).toBe("<it's\n$(x)\n>\nerr\n");
    await docker.stop(name, { timeoutSeconds: patientSeconds(10) });
    expect(await docker.find(spec.labels)).toMatchObject([{ running: false, exitCode: 3 }]);
    await docker.restart(name);
    expect(await docker.find(spec.labels)).toMatchObject([{ running: true }]);
    await expect(docker.start({ ...spec, labels: { ...spec.labels, 'tandem.engine': 'other' } })).rejects.toMatchObject(
      {
        code: 'NAME_CONFLICT',
      },
    );
    await docker.remove(name);
    await docker.remove(name);
    await docker.stop(name, { timeoutSeconds: 1 });
    expect(await docker.find(spec.labels)).toEqual([]);
  });

  it('start once when two drivers start one at the same time', async () => {
    const other = createDrivers({ runtimeDir: join(folder, 'r') });
    const states = await Promise.all(
      [docker, other.host(server.ref).runtime('docker')].map((one) => one.start(mine('sleep 600'))),
    );
    expect(new Set(states.map(({ startedAt }) => startedAt)).size).toBe(1);
    await other.close();
  });

  it.each([
    ['an image that is not there', mine('', {}, { image: 'tandem-none:1' }), 'IMAGE_UNAVAILABLE'],
    ['a program that is not in the image', mine('', { argv: ['/no/such'] }), 'COMMAND_FAILED'],
    ['a device that is not there', mine('', {}, { devices: ['/dev/no-such'] }), 'COMMAND_FAILED'],
    ['a mount whose source is missing', mine('', {}, { mounts: [{ source: '/no/such', target: '/x', readOnly: true }] }), 'COMMAND_FAILED'],
  ])('say why and leave nothing behind: %s', async (_, spec, code) => {
    await expect(docker.start(spec)).rejects.toMatchObject({ code, retryable: false });
    expect(await docker.find(spec.labels)).toEqual([]);
  }); // prettier-ignore

  it('that die at once are ended units with their exit code', async () => {
    await docker.start(mine('echo bye; exit 9'));
    await until('it ended', async () => (await docker.find({}))[0]?.running === false);
    expect(await docker.find({ 'tandem.cluster': 'qwen' })).toMatchObject([{ exitCode: 9, oomKilled: false }]);
  });
});
