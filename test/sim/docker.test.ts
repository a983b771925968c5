import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '../support/processes.ts';
import { simulate, type TestSimulation } from '../support/simulation.ts';

const IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
const PRIVATE = 'registry.example:5000/team/engine:v1';
const IP = '127.82.10.1';

let sim: TestSimulation;
beforeAll(async () => {
  sim = await simulate({
    hosts: [
      { name: 'host-0', address: IP, images: [IMAGE] },
      { name: 'bare', address: '127.82.10.2', gpus: { count: 0 } },
      { name: 'stopped', address: '127.82.10.3', docker: { state: 'stopped' } },
      { name: 'denied', address: '127.82.10.4', docker: { state: 'denied' } },
      { name: 'absent', address: '127.82.10.5', docker: { state: 'absent' } },
    ],
    images: [
      { reference: IMAGE, pullSeconds: 0 },
      { reference: PRIVATE, pullSeconds: 0, login: { user: 'bot', password: 'p:w' } },
    ],
  });
});
afterAll(() => sim.stop());
afterEach(() => sim.ssh('host-0', 'docker rm -f $(docker ps -aq) 2>/dev/null'));

const sh = (command: string, host = 'host-0', input = '') => sim.ssh(host, command, { input });
const inspect = async (name: string, template: string) =>
  (await sh(`docker inspect --format '${template}' ${name}`)).stdout.trim();
const engine = (name: string, port: number, more = '', args = '') =>
  `docker run -d --name ${name} --network host --device /dev/kfd --device /dev/dri -v "$HOME/share/tiny-chat:/models/m:ro" ${more} ${IMAGE} ` +
  `python3 -m sglang.launch_server --model-path /models/m --host ${IP} --port ${port} --tp-size 4 --mem-fraction-static 0.8 ` +
  `--disaggregation-mode decode ${args}`;

describe('the docker client refuses, in its own words,', () => {
  it.each([
    [
      'docker run --nosuch x',
      125,
      "unknown flag: --nosuch\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information\n",
    ],
    [
      `docker run -Z ${IMAGE} true`,
      125,
      "unknown shorthand flag: 'Z' in -Z\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information\n",
    ],
    [
      'docker run --name',
      125,
      "flag needs an argument: --name\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information\n",
    ],
    [
      'docker run',
      1,
      "docker: 'docker run' requires at least 1 argument\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'docker run --help' for more information\n",
    ],
    [
      `docker run --ulimit foo ${IMAGE}`,
      125,
      'invalid argument "foo" for "--ulimit" flag: invalid ulimit argument: foo\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun \'docker run --help\' for more information\n',
    ],
    [
      'docker ps --nosuch',
      125,
      "unknown flag: --nosuch\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information\n",
    ],
    ['docker ps --filter nosuch=1', 1, "Error response from daemon: invalid filter 'nosuch'\n"],
    ['docker foo', 1, "docker: unknown command: docker foo\n\nRun 'docker --help' for more information\n"],
    [
      'docker pull a b',
      1,
      "docker: 'docker pull' requires 1 argument\n\nUsage:  docker pull [OPTIONS] NAME[:TAG|@DIGEST]\n\nRun 'docker pull --help' for more information\n",
    ],
    ['docker stop nobody', 1, 'Error response from daemon: No such container: nobody\n'],
    ['docker logs nobody', 1, 'Error response from daemon: No such container: nobody\n'],
    [
      'docker start nobody',
      1,
      'Error response from daemon: No such container: nobody\nError: failed to start containers: nobody\n',
    ],
    [
      'docker pull nosuch/image:1',
      1,
      "Error response from daemon: pull access denied for nosuch/image, repository does not exist or may require 'docker login': denied: requested access to the resource is denied\n",
    ],
    [
      'docker pull rocm/sgl-dev:other',
      1,
      'Error response from daemon: manifest for rocm/sgl-dev:other not found: manifest unknown: manifest unknown\n',
    ],
    [
      `docker run --mount type=bind,source=/nowhere,target=/x ${IMAGE} true`,
      125,
      'docker: Error response from daemon: invalid mount config for type "bind": bind source path does not exist: /nowhere\n\nRun \'docker run --help\' for more information\n',
    ],
    [
      `docker run --name 'a b' ${IMAGE} true`,
      125,
      "docker: Error response from daemon: Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed\n\nRun 'docker run --help' for more information\n",
    ],
    ["docker inspect --format '{{json .X' x", 64, 'template parsing error: template: :1: unclosed action\n'],
    ['docker login --password-stdin', 1, 'the --password-stdin option requires --username to be set\n'],
  ])('%s', async (command, exitCode, stderr) => {
    expect(await sh(command)).toEqual({ stdout: '', stderr, exitCode });
  });

  it('to inspect what is not there: an empty list and an error', async () => {
    expect(await sh('docker inspect nobody')).toEqual({
      stdout: '[]\n',
      stderr: 'Error: No such object: nobody\n',
      exitCode: 1,
    });
  });

  it.each([
    [
      'stopped',
      'docker ps',
      1,
      'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n',
    ],
    [
      'stopped',
      `docker run ${IMAGE} true`,
      125,
      "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n\nRun 'docker run --help' for more information\n",
    ],
    [
      'denied',
      'docker ps',
      1,
      expect.stringContaining('permission denied while trying to connect to the Docker daemon socket'),
    ],
    ['absent', 'docker ps', 127, '/bin/sh: 1: docker: not found\n'],
  ])('on a host whose engine is %s: %s', async (host, command, exitCode, stderr) => {
    expect(await sh(command, host)).toEqual({ stdout: '', stderr, exitCode });
  });

  it('to say a version of the engine where none can be reached', async () => {
    const { stdout, exitCode } = await sh("docker version --format '{{json .}}'", 'stopped');
    expect(JSON.parse(stdout)).toMatchObject({ Server: null });
    expect(exitCode).toBe(1);
  });
});

describe('a container', () => {
  it('is removed once: who asks meanwhile is told so', async () => {
    await sh(`docker run -d --name twice ${IMAGE} sleep 600`);
    const { docker } = sim.host('host-0');
    const removals = [1, 2].map(() => docker.remove(docker.find('twice'), true));
    await expect(removals[1]).rejects.toThrow('removal of container twice is already in progress');
    await removals[0];
    expect((await sh('docker ps -aq')).stdout).toBe('');
  });

  it('is made once: its name is taken until it is removed', async () => {
    const first = await sh(`docker run -d --name one ${IMAGE} sleep 60`);
    expect(first.stdout).toMatch(/^[0-9a-f]{64}\n$/);
    const second = await sh(`docker run -d --name one ${IMAGE} sleep 60`);
    expect(second.exitCode).toBe(125);
    expect(second.stderr).toContain(
      `Conflict. The container name "/one" is already in use by container "${first.stdout.trim()}".`,
    );
    expect((await sh('docker rm one')).stderr).toContain(
      'container is running: stop the container before removing or force remove',
    );
    expect((await sh('docker rm -f one && docker rm one')).stderr).toBe(
      'Error response from daemon: No such container: one\n',
    );
  });

  it('gives its exit code and both outputs to the client that waits for it', async () => {
    expect(await sh(`docker run --rm ${IMAGE} sh -c 'echo out; echo err >&2; exit 3'`)).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      exitCode: 3,
    });
    expect((await sh('docker ps -a -q')).stdout).toBe('');
  });

  it('whose program does not exist is created and not started: exit 127', async () => {
    const { stderr, exitCode } = await sh(`docker run -d --name odd ${IMAGE} sglang2 serve`);
    expect(exitCode).toBe(127);
    expect(stderr).toContain('exec: "sglang2": executable file not found in $PATH: unknown');
    expect(await inspect('odd', '{{.State.Status}} {{.State.ExitCode}}')).toBe('created 127');
  });

  it('is given the environment of the client by name alone, newlines and all', async () => {
    const { stdout } = await sh(
      `SECRET="$(printf 'a\\nb=ü')" docker run --rm -e SECRET -e UNSET_ONE -e X=1 ${IMAGE} env`,
    );
    expect(stdout).toContain('SECRET=a\nb=ü\n');
    expect(stdout).toContain('X=1\n');
    expect(stdout).not.toContain('UNSET_ONE');
  });

  it('is found by all of its labels and by no other', async () => {
    await sh(
      `docker run -d --name one --label a=1 --label b=x,y ${IMAGE} sleep 60; docker run -d --name two --label a=1 ${IMAGE} true; docker wait two`,
    );
    const ps = async (flags: string) =>
      (await sh(`docker ps --no-trunc --format '{{.Names}}' ${flags}`)).stdout
        .trim()
        .split('\n')
        .filter(Boolean)
        .toSorted();
    expect(await ps('-a --filter label=a=1')).toEqual(['one', 'two']);
    expect(await ps('--filter label=a=1')).toEqual(['one']);
    expect(await ps('-a --filter label=a=1 --filter label=b=x,y')).toEqual(['one']);
    expect(await ps('-a --filter label=a=2')).toEqual([]);
    expect(await ps('-a --filter label=a')).toEqual(['one', 'two']);
  });

  it('ends on TERM by itself, else on KILL after its stop time-out', async () => {
    await sh(
      `docker run -d --name deaf --stop-timeout 1 ${IMAGE} sh -c 'trap "" TERM; echo up; n=600; while [ $((n-=1)) -gt 0 ]; do sleep 1; done'; docker run -d --name kind ${IMAGE} sh -c 'trap "exit 4" TERM; echo up; n=9000; while [ $((n-=1)) -gt 0 ]; do sleep 0.05; done'`,
    );
    await eventually(async () => (await sh('docker logs deaf; docker logs kind')).stdout === 'up\nup\n');
    await sh('docker stop deaf kind');
    expect([await inspect('deaf', '{{.State.ExitCode}}'), await inspect('kind', '{{.State.ExitCode}}')]).toEqual([
      '137',
      '4',
    ]);
  });

  it('is not started for a device that the host lacks', async () => {
    const { stderr, exitCode } = await sh(`docker run -d --name any --device /dev/kfd ${IMAGE} true`, 'bare');
    expect(exitCode).toBe(125);
    expect(stderr).toContain(
      'error gathering device information while adding custom device "/dev/kfd": no such file or directory',
    );
  });

  it('sees the files of its mounts and none beside them', async () => {
    const run = (path: string) => sh(`docker run --rm -v $HOME/share/tiny-chat:/models/m:ro ${IMAGE} cat ${path}`);
    expect((await run('/models/m/config.json')).stdout).toContain('"qwen2"');
    expect((await run('/models/x')).exitCode).toBe(1);
  });
});

describe('an engine in a container', () => {
  it('becomes ready, holds its GPUs while it runs, and drains on stop', async () => {
    await sh(engine('decode-0', 30000, '--label tandem.cluster=demo'));
    await eventually(
      async () => (await sh(`curl -s -o /dev/null -w '%{http_code}' http://${IP}:30000/ready`)).stdout === '200',
    );
    const used = async () =>
      JSON.parse((await sh('amd-smi metric --mem-usage --json')).stdout).gpu_data.map(
        (gpu: { mem_usage: { used_vram: { value: number } } }) => gpu.mem_usage.used_vram.value > 100_000,
      );
    expect(await used()).toEqual([true, true, true, true, false, false, false, false]);
    expect((await sh('ss -Hltn')).stdout).toContain(`${IP}:30000`);
    expect(Number((await sh('cat /sys/class/drm/card1/device/mem_info_vram_used')).stdout)).toBeGreaterThan(100e9);
    await sh('docker stop -t 20 decode-0');
    expect(await inspect('decode-0', '{{.State.Status}} {{.State.ExitCode}}')).toBe('exited 0');
    expect(await used()).toEqual(Array(8).fill(false));
    expect((await sh('ss -Hltn')).stdout).not.toContain(':30000');
  });

  it('is gone at once on KILL, and comes back under its name', async () => {
    await sh(engine('decode-0', 30000));
    await eventually(async () => (await sh('docker logs --tail 1 decode-0')).stdout.includes('ready to roll'));
    await sh('docker kill decode-0; docker wait decode-0');
    expect(await inspect('decode-0', '{{.State.ExitCode}}')).toBe('137');
    expect((await sh(`curl -sS http://${IP}:30000/ready`)).stderr).toContain('connect');
    await sh('docker start decode-0');
    await eventually(
      async () => (await sh(`curl -s -o /dev/null -w '%{http_code}' http://${IP}:30000/ready`)).stdout === '200',
    );
  });

  it.each([
    ['a flag that SGLang does not have', '', '--no-such-flag 1', 2, 'unrecognized arguments: --no-such-flag 1'],
    ['GPUs that the host does not have', '', '--base-gpu-id 6', 1, 'invalid device ordinal'],
    [
      'an RDMA device that the host does not have',
      '',
      '--disaggregation-ib-device mlx5_0',
      1,
      "Invalid IB devices specified: ['mlx5_0']",
    ],
    ['a model that is not mounted', '', '--model-path /models/other', 1, 'OSError'],
  ])('ends before it is ready for %s', async (_, more, args, exitCode, line) => {
    await sh(engine('bad', 30100, more, args));
    expect((await sh('docker wait bad')).stdout).toBe(`${exitCode}\n`);
    const logs = await sh('docker logs bad');
    expect(logs.stdout + logs.stderr).toContain(line);
  });

  it('has no GPU without its devices', async () => {
    await sh(
      `docker run -d --name blind -v $HOME/share/tiny-chat:/m ${IMAGE} python3 -m sglang.launch_server --model-path /m --port 30100`,
    );
    expect((await sh('docker wait blind; docker logs blind')).stderr).toContain('No HIP GPUs are available');
  });

  it('runs out of memory on a GPU that another one holds', async () => {
    await sh(engine('first', 30000));
    await sh(engine('second', 30100));
    expect((await sh('docker wait second')).stdout).toBe('137\n');
    expect((await sh('docker ps --format "{{.Names}}"')).stdout).toBe('first\n');
  });

  it('is dead after a reboot, and its container still there', async () => {
    await sh(engine('decode-0', 30000));
    await eventually(async () => (await sh('docker logs --tail 1 decode-0')).stdout.includes('ready to roll'));
    await sim.host('host-0').reboot();
    expect((await sh('ss -Hltn')).stdout).not.toContain(':30000');
    expect(await inspect('decode-0', '{{.State.Status}} {{.State.ExitCode}} {{index .Config.Labels "x"}}')).toBe(
      'exited 137',
    );
    expect((await sh('amd-smi process --json')).stdout).toContain('No running processes detected');
  });
});

describe('images', () => {
  it('have one id on every host, and a digest that fetches the same', async () => {
    const id = (host: string, what: string) => sh(`docker image inspect --format '{{.Id}}' ${what}`, host);
    await sh(`docker pull -q ${IMAGE}`, 'bare');
    const there = (await id('host-0', IMAGE)).stdout;
    expect(there).toMatch(/^sha256:[0-9a-f]{64}\n$/);
    expect((await id('bare', IMAGE)).stdout).toBe(there);
    const [digest] = JSON.parse(
      (await sh(`docker image inspect --format '{{json .RepoDigests}}' ${IMAGE}`)).stdout,
    ) as string[];
    expect((await sh(`docker pull -q ${digest}`, 'bare')).stdout).toBe(`docker.io/${digest}\n`);
    expect((await id('bare', digest!)).stdout).toBe(there);
  });

  it('of a registry that wants a login come only with the right password, which is kept in the given folder', async () => {
    const pull = () => sh(`DOCKER_CONFIG=$HOME/dc docker pull -q ${PRIVATE}`);
    const login = (password: string) =>
      sh('DOCKER_CONFIG=$HOME/dc docker login -u bot --password-stdin registry.example:5000', 'host-0', password);
    expect((await pull()).stderr).toContain('no basic auth credentials');
    expect((await login('wrong')).stderr).toBe(
      'Error response from daemon: login attempt to https://registry.example:5000/v2/ failed with status: 401 Unauthorized\n',
    );
    expect((await login('p:w')).stdout).toBe('Login Succeeded\n');
    expect((await pull()).stdout).toBe(`${PRIVATE}\n`);
    expect(existsSync(join(sim.host('host-0').home, '.docker'))).toBe(false);
  });
});
