import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { runArguments } from '../../src/drivers/docker.ts';
import { resolveImage } from '../../src/drivers/images.ts';
import type { Host, Runtime, UnitSpec, UnitState } from '../../src/drivers/types.ts';
import { dockerVersion } from '../../src/facts/docker-version.ts';
import { read } from '../../src/facts/fact.ts';
import { ANSWER_MS, patient } from '../support/patience.ts';
import { aContainer } from '../support/plan-rows.ts';
import { until } from '../support/processes.ts';
import { CLOSED_REGISTRY, LOGIN, REGISTRY, WORLDS, type World } from './worlds.ts';

/**
 * What Tandem asks of a host and what it must then see, by its own drivers: the same on a simulated host as on a real
 * one with OpenSSH and Docker Engine. Where the two differed, the simulator was mended; such cases say so.
 */
const CLUSTER = 'contract';
const ARGV = ['sleep', '600'];

for (const { name, missing, start } of WORLDS) {
  const suite = missing === undefined ? describe : describe.skip;
  suite(`${name}${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
    let world: World;
    let host: Host;
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'tandem-contract-'));
      world = await start(join(folder, 'r'));
      host = world.drivers.host(world.ref);
    });
    afterAll(async () => {
      await world?.close();
      await rm(folder, { recursive: true, force: true });
    });

    const sh = (script: string, ...args: readonly string[]) =>
      host.must({ argv: ['sh', '-c', script, 'sh', ...args], timeoutMs: ANSWER_MS });
    let numbers = 0;
    const unitOf = (argv: readonly string[], more: Partial<UnitSpec> = {}): UnitSpec => {
      const unit = `tandem-${CLUSTER}-prefill-${(numbers += 1)}-1`;
      const labels = { 'tandem.cluster': CLUSTER, 'tandem.installation': 'run-1', 'tandem.index': String(numbers) };
      return { name: unit, labels, argv, env: {}, stopTimeoutSeconds: 1, ...more };
    };
    /** A unit for docker; `more` goes into its container. */
    const containerOf = (argv: readonly string[], more: Partial<UnitSpec['container']> = {}): UnitSpec =>
      unitOf(argv, {
        container: aContainer({ image: world.image, mounts: world.mounts, hostIpc: false, ...more }),
      });
    const pictureScope = async () => ({
      cluster: CLUSTER,
      installation: 'run-1',
      docker: true,
      ports: [],
      modelPath: await host.expand('~/models/none'),
      images: [world.image],
    });
    const stateOf = async (runtime: Runtime, { labels }: UnitSpec): Promise<UnitState | undefined> =>
      (await runtime.find(labels))[0];
    const ended = async (runtime: Runtime, unit: UnitSpec): Promise<UnitState> => {
      let state: UnitState | undefined;
      await until(`${unit.name} has ended`, async () => (state = await stateOf(runtime, unit))?.running === false);
      return state!;
    };

    describe('runs commands', () => {
      it('to their own exit code, that of a signal, 127 for none and 126 for what is no program', async () => {
        const outputs = await host.runAll(
          [['sh', '-c', 'exit 42'], ['sh', '-c', 'kill -9 $$'], ['no-such-program'], ['/etc/passwd'], ['true']].map(
            (argv) => ({ argv, timeoutMs: ANSWER_MS }),
          ),
        );
        expect(outputs.map(({ exitCode }) => exitCode)).toEqual([42, 137, 127, 126, 0]);
      });

      it('with every byte of arguments, input and variables as it was given', async () => {
        const odd = `'"$(x) \\ ü\n\t*`;
        const argv = ['sh', '-c', 'cat; printf "|%s|%s" "$1" "$ODD"; printf e >&2', 'sh', odd];
        expect(await host.run({ argv, env: { ODD: odd }, stdin: odd, timeoutMs: ANSWER_MS })).toEqual({
          stdout: `${odd}|${odd}|${odd}`,
          stderr: 'e',
          exitCode: 0,
          timedOut: false,
        });
      });

      it('and ends one that takes too long with all its children', async () => {
        const run = host.run({ argv: ['sh', '-c', 'sleep 611 & sleep 611'], timeoutMs: patient(1_000) });
        await expect(run).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT' });
        expect(await sh('pgrep -fx "sleep 611" || echo none')).toBe('none\n');
      });

      it('keeping the first part of an output that is too long', async () => {
        const output = await host.run({
          argv: [process.execPath, '-e', 'process.stdout.write("x".repeat(6e6))'],
          timeoutMs: ANSWER_MS,
        });
        expect(output).toMatchObject({ exitCode: 0, truncated: true });
        expect(output.stdout.length).toBeLessThanOrEqual(4 * 1024 * 1024);
      });

      it('and writes files whole, with folders and mode', async () => {
        await host.writeFile('~/deep/er/file', 'secret\n', { mode: 0o600 });
        expect(await sh('cd ~/deep/er && stat -c %a file && cat file && ls -A')).toBe('600\nsecret\nfile\n');
      });

      it('and requests over its own network: an answer, and a refusal', async () => {
        const server = `require('http').createServer((_, answer) => answer.end('here')).listen(18080, '${world.ref.address}')`;
        const unit = unitOf([process.execPath, '-e', server]);
        const url = `http://${world.ref.address}:18080/`;
        await expect(host.fetch(url, { timeoutMs: ANSWER_MS })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
        const jobs = host.runtime('process');
        await jobs.start(unit);
        const answer = () =>
          host.fetch(url, { timeoutMs: ANSWER_MS }).then(
            (one) => one.text(),
            () => '',
          );
        await until('the server answers', async () => (await answer()) === 'here');
        await jobs.remove(unit.name);
      });
    });

    for (const kind of ['process', 'docker'] as const) {
      describe(kind === 'docker' ? 'has containers' : 'has jobs', () => {
        let runtime: Runtime;
        beforeAll(() => {
          runtime = host.runtime(kind);
        });
        afterEach(async () => {
          for (const { name: unit } of await runtime.find({ 'tandem.cluster': CLUSTER })) await runtime.remove(unit);
        });
        const one = (argv: readonly string[]) => (kind === 'docker' ? containerOf(argv) : unitOf(argv));
        const trapping = (act: string) => [
          'sh',
          '-c',
          `trap "${act}" TERM; n=9000; while [ $((n-=1)) -gt 0 ]; do sleep 0.05; done`,
        ];

        it('started once, however often it is asked', async () => {
          const unit = one(ARGV);
          const first = await runtime.start(unit);
          expect(first).toMatchObject({ name: unit.name, labels: unit.labels, running: true, argv: ARGV });
          expect(first.pid).toBeGreaterThan(1);
          expect(await runtime.start(unit)).toEqual(first);
          expect(await stateOf(runtime, unit)).toEqual(first);
        });

        it('started once by several who ask at the same time', async () => {
          const unit = one(ARGV);
          const [first, ...others] = await Promise.all([1, 2, 3].map(() => runtime.start(unit)));
          expect(first).toMatchObject({ name: unit.name, running: true, argv: ARGV });
          expect(others).toEqual([first, first]);
          expect(await runtime.find(unit.labels)).toEqual([first]);
        });

        it('found by all of their labels and by no other', async () => {
          const [a, b] = [one(ARGV), one(['true'])];
          await runtime.start(a);
          await runtime.start(b);
          await ended(runtime, b);
          const found = async (labels: Readonly<Record<string, string>>) =>
            (await runtime.find(labels)).map((state) => state.name).toSorted();
          expect(await found({ 'tandem.cluster': CLUSTER })).toEqual([a.name, b.name].toSorted());
          expect(await found({ 'tandem.cluster': CLUSTER, 'tandem.index': a.labels['tandem.index']! })).toEqual([
            a.name,
          ]);
          expect(await found({ 'tandem.cluster': 'other' })).toEqual([]);
        });

        it('refused where the name has other labels', async () => {
          const unit = one(ARGV);
          await runtime.start(unit);
          const other = { ...unit, labels: { ...unit.labels, 'tandem.installation': 'run-2' } };
          await expect(runtime.start(other)).rejects.toMatchObject({ code: 'NAME_CONFLICT' });
        });

        it('ended with their own exit code, which is kept with both outputs', async () => {
          const unit = one(['sh', '-c', 'echo out; echo err >&2; exit 3']);
          await runtime.start(unit);
          const killed = kind === 'docker' ? { oomKilled: false } : {};
          expect(await ended(runtime, unit)).toMatchObject({ running: false, exitCode: 3, ...killed });
          expect((await runtime.logs(unit.name, { tailLines: 5 })).split('\n').toSorted()).toEqual(['', 'err', 'out']);
        });

        it('logged: the last lines, as many as are asked for', async () => {
          const unit = one(['seq', '100']);
          await runtime.start(unit);
          await ended(runtime, unit);
          expect(await runtime.logs(unit.name, { tailLines: 2 })).toBe('99\n100\n');
        });

        it('stopped by TERM, which they may answer', async () => {
          const unit = one(trapping('exit 4'));
          await runtime.start(unit);
          await runtime.stop(unit.name, { timeoutSeconds: 10 });
          expect(await stateOf(runtime, unit)).toMatchObject({ running: false, exitCode: 4 });
        });

        it('stopped by KILL where they do not', async () => {
          const unit = one(trapping(''));
          await runtime.start(unit);
          await runtime.stop(unit.name, { timeoutSeconds: 1 });
          expect(await stateOf(runtime, unit)).toMatchObject({ running: false, exitCode: 137 });
        });

        it('started again as they were, and not where they run', async () => {
          const unit = one(ARGV);
          const first = await runtime.start(unit);
          await runtime.restart(unit.name);
          expect(await stateOf(runtime, unit)).toEqual(first);
          await runtime.stop(unit.name, { timeoutSeconds: 0 });
          await runtime.restart(unit.name);
          const second = await stateOf(runtime, unit);
          expect(second).toMatchObject({ running: true, argv: ARGV, labels: unit.labels });
          expect(second!.pid).not.toBe(first.pid);
        });

        it('removed once by several who ask at the same time', async () => {
          const unit = one(ARGV);
          await runtime.start(unit);
          await Promise.all([1, 2, 3].map(() => runtime.remove(unit.name)));
          await until('it is gone', async () => (await stateOf(runtime, unit)) === undefined);
        });

        it('stopped and removed also where they are gone', async () => {
          const unit = one(ARGV);
          await runtime.stop(unit.name, { timeoutSeconds: 1 });
          await runtime.remove(unit.name);
          await runtime.start(unit);
          await runtime.remove(unit.name);
          expect(await stateOf(runtime, unit)).toBeUndefined();
          await runtime.remove(unit.name);
          await expect(runtime.restart(unit.name)).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
        });

        it('given variables with every byte, and shown without them', async () => {
          const secret = `'s3"cret'\nin two lines`;
          const env = { TOKEN: secret, DOCKER_HOST: 'read by docker' };
          const unit = { ...one(['sh', '-c', 'echo "$TOKEN|$DOCKER_HOST"; sleep 600']), env };
          await runtime.start(unit);
          await until('it has printed', async () => (await runtime.logs(unit.name, { tailLines: 9 })).includes('|'));
          expect(await runtime.logs(unit.name, { tailLines: 9 })).toBe(`${secret}|read by docker\n`);
          expect(await sh('ps -eo args')).not.toContain('s3"cret');
        });

        it('seen in the picture', async () => {
          const unit = one(ARGV);
          await runtime.start(unit);
          const scope = await pictureScope();
          const running = await host.picture(scope);
          expect(running.things[kind === 'docker' ? 'container' : 'job']).toEqual([`${unit.name} runs`]);
          expect(running.kept).toMatchObject([{ kind: 'image', what: world.image }]);
          await runtime.stop(unit.name, { timeoutSeconds: 0 });
          expect((await host.picture(scope)).things[kind === 'docker' ? 'container' : 'job']).toEqual([
            `${unit.name} does not run`,
          ]);
        });
      });
    }

    describe('whose Docker Engine', () => {
      let docker: Runtime;
      beforeAll(() => {
        docker = host.runtime('docker');
      });
      afterEach(async () => {
        for (const { name: unit } of await docker.find({ 'tandem.cluster': CLUSTER })) await docker.remove(unit);
      });
      const refused = async (unit: UnitSpec) => {
        const error = await docker.start(unit).then(
          () => undefined,
          (thrown: { code: string; evidence?: string; retryable: boolean }) => thrown,
        );
        expect(await stateOf(docker, unit)).toBeUndefined();
        return error;
      };

      it('takes every option that a plan has', async () => {
        const odd = await host.expand('~/a,"b');
        const unit = containerOf(ARGV, {
          devices: ['/dev/kfd', '/dev/dri'],
          groups: ['video', '44'],
          capabilities: ['IPC_LOCK', 'SYS_PTRACE'],
          securityOptions: ['seccomp=unconfined'],
          ulimits: { nofile: 1024, stack: 8_388_608 },
          mounts: [
            ...world.mounts,
            { source: '/etc', target: '/host/etc', readOnly: true },
            { source: odd, target: '/odd', readOnly: false },
          ],
          shmSizeGiB: 0.5,
        });
        await sh('mkdir -p -- "$1"', odd);
        expect(await docker.start(unit)).toMatchObject({
          running: true,
          imageId: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) as unknown,
        });
        const { HostConfig, Config } = JSON.parse(
          await host.must({ argv: ['docker', 'inspect', '--format', '{{json .}}', unit.name], timeoutMs: ANSWER_MS }),
        ) as { HostConfig: Record<string, unknown>; Config: Record<string, unknown> };
        expect(HostConfig).toMatchObject({
          NetworkMode: 'host',
          RestartPolicy: { Name: 'no' },
          LogConfig: { Type: 'json-file', Config: { 'max-file': '3', 'max-size': '100m' } },
          ShmSize: 2 ** 29,
          CapAdd: [expect.stringMatching(/IPC_LOCK$/), expect.stringMatching(/SYS_PTRACE$/)],
          GroupAdd: ['44', '44'],
          SecurityOpt: ['seccomp=unconfined'],
          Privileged: false,
          Ulimits: expect.arrayContaining([{ Name: 'nofile', Hard: 1024, Soft: 1024 }]) as unknown,
          Devices: expect.arrayContaining([
            { PathOnHost: '/dev/kfd', PathInContainer: '/dev/kfd', CgroupPermissions: 'rwm' },
          ]) as unknown,
          Mounts: expect.arrayContaining([
            { Type: 'bind', Source: '/etc', Target: '/host/etc', ReadOnly: true },
            expect.objectContaining({ Type: 'bind', Source: odd, Target: '/odd' }),
          ]) as unknown,
        });
        expect(Config).toMatchObject({ Entrypoint: ['sleep'], Cmd: ['600'], StopTimeout: 1, Labels: unit.labels });
      });

      it("gives a container the host's IPC, which is the default of a plan", async () => {
        const file = `/dev/shm/contract-${process.pid}`;
        await sh('echo shared >"$1"', file);
        const unit = containerOf(['cat', file], { hostIpc: true });
        await docker.start(unit);
        await ended(docker, unit);
        await sh('rm "$1"', file);
        expect(await docker.logs(unit.name, { tailLines: 9 })).toBe('shared\n');
        const argv = ['docker', 'inspect', '--format', '{{.HostConfig.IpcMode}}', unit.name];
        expect(await host.must({ argv, timeoutMs: ANSWER_MS })).toBe('host\n');
      });

      it('shows in the picture what has the name of a unit and no labels', async () => {
        const unit = { ...containerOf(ARGV), labels: {} };
        await docker.start(unit);
        const { things } = await host.picture(await pictureScope());
        await docker.remove(unit.name);
        expect(things.container).toEqual([`${unit.name} runs`]);
      });

      it('starts what somebody made and did not come to start', async () => {
        const folder = await host.expand('~/late');
        await sh('mkdir -p "$1"', folder);
        const unit = containerOf(ARGV, {
          mounts: [
            ...world.mounts,
            { source: folder, target: '/host/late', readOnly: true },
            { source: '/etc', target: '/host/late/etc', readOnly: true },
          ],
        });
        const made = await host.run({ argv: ['docker', ...runArguments(unit, [])], timeoutMs: ANSWER_MS });
        expect(made.exitCode).not.toBe(0);
        expect(await stateOf(docker, unit)).toMatchObject({ running: false, created: true });
        await sh('mkdir "$1/etc"', folder);
        expect(await docker.start(unit)).toMatchObject({ running: true, argv: ARGV });
      });

      it('stops by TERM to the first process alone; what that leaves dies with it', async () => {
        const waits = (act: string) =>
          `trap "${act}" TERM; echo ready; n=9000; while [ $((n-=1)) -gt 0 ]; do sleep 0.05; done`;
        const unit = containerOf(['sh', '-c', `(sleep 613 & ${waits('echo child')}) & ${waits('sleep 0.3; exit 4')}`]);
        await docker.start(unit);
        const logs = () => docker.logs(unit.name, { tailLines: 9 });
        await until('both have their handlers', async () => (await logs()) === 'ready\nready\n');
        await docker.stop(unit.name, { timeoutSeconds: 60 });
        expect(await stateOf(docker, unit)).toMatchObject({ running: false, exitCode: 4 });
        expect(await logs()).toBe('ready\nready\n');
        expect(await sh('pgrep -fx "sleep 613" || echo none')).toBe('none\n');
      });

      it('says its version', async () => {
        const output = await host.run({ argv: dockerVersion.command(), timeoutMs: ANSWER_MS });
        expect(read(dockerVersion, output)).toEqual({ value: expect.stringMatching(/^\d+\.\d+\.\d+/) });
      });

      it.each([
        ['that the user may not use', 'denied', 'may not use Docker', /did not answer: permission denied/],
        ['that is not installed', 'bare', 'docker is not installed', /^docker is not on the host's PATH$/],
      ] as const)('%s is said to be', async (_, which, message, why) => {
        const at = world.drivers.host(world[which]);
        const failure = { retryable: false, message: expect.stringContaining(message) as unknown };
        await expect(at.runtime('docker').find({ 'tandem.cluster': CLUSTER })).rejects.toMatchObject(failure);
        await expect(at.runtime('docker').start(containerOf(ARGV))).rejects.toMatchObject(failure);
        const request = { reference: `${CLOSED_REGISTRY}/team/engine:1`, pullTimeoutMs: ANSWER_MS };
        for (const how of [{ policy: 'missing' }, { policy: 'always' }, { policy: 'always', login: LOGIN }] as const)
          await expect(resolveImage(at, { ...request, ...how })).rejects.toMatchObject(failure);
        const output = await at.run({ argv: dockerVersion.command(), timeoutMs: ANSWER_MS });
        expect(read(dockerVersion, output).why).toMatch(why);
      });

      it('waits for the limit where the first process has no handler for TERM: the kernel sends it none', async () => {
        const unit = containerOf(ARGV);
        await docker.start(unit);
        await docker.stop(unit.name, { timeoutSeconds: 1 });
        expect(await stateOf(docker, unit)).toMatchObject({ exitCode: 137 });
      });

      it('shows a line of a log once it is whole', async () => {
        const unit = containerOf(['sh', '-c', 'echo begun; printf half; echo err >&2; sleep 600']);
        await docker.start(unit);
        const logs = () => docker.logs(unit.name, { tailLines: 9 });
        await until('it has printed', async () => (await logs()).includes('err'));
        expect((await logs()).split('\n').toSorted()).toEqual(['', 'begun', 'err']);
      });

      it('refuses a program that the image lacks', async () => {
        expect(await refused(containerOf(['no-such-program']))).toMatchObject({
          code: 'COMMAND_FAILED',
          message: expect.stringContaining('exit code 127') as unknown,
          evidence: expect.stringMatching(/no-such-program.*not found/s) as unknown,
        });
      });

      it('refuses an image that is not there', async () => {
        expect(await refused(containerOf(ARGV, { image: 'tandem-lab/none:1' }))).toMatchObject({
          code: 'IMAGE_UNAVAILABLE',
          retryable: false,
        });
      });

      it('refuses a device that is not there', async () => {
        expect(await refused(containerOf(ARGV, { devices: ['/dev/no-such-device'] }))).toMatchObject({
          code: 'COMMAND_FAILED',
          evidence: expect.stringMatching(/gathering device information.*no such file or directory/) as unknown,
        });
      });

      it('refuses a mount whose source is not there', async () => {
        const mounts = [...world.mounts, { source: '/no/such/folder', target: '/x', readOnly: true }];
        expect(await refused(containerOf(ARGV, { mounts }))).toMatchObject({
          code: 'COMMAND_FAILED',
          evidence: expect.stringContaining('bind source path does not exist: /no/such/folder') as unknown,
        });
      });

      it('refuses a mount into a mount that may not be written', async () => {
        const mounts = [
          ...world.mounts,
          { source: '/etc', target: '/host/etc', readOnly: true },
          { source: '/etc', target: '/host/etc/no-such-folder', readOnly: true },
        ];
        expect(await refused(containerOf(ARGV, { mounts }))).toMatchObject({
          code: 'COMMAND_FAILED',
          evidence: expect.stringMatching(/read-only file system/) as unknown,
        });
      });

      it('refuses a group that neither host nor image knows', async () => {
        expect(await refused(containerOf(ARGV, { groups: ['no-such-group'] }))).toMatchObject({
          code: 'COMMAND_FAILED',
          evidence: expect.stringContaining('Unable to find group no-such-group') as unknown,
        });
      });

      it('has an image under its name and its id, and says when it is not there', async () => {
        const request = { policy: 'never', pullTimeoutMs: ANSWER_MS } as const;
        const { id } = await resolveImage(host, { reference: world.image, ...request });
        expect(await resolveImage(host, { reference: id, ...request })).toEqual({ id });
        const unit = containerOf(ARGV, { image: 'tandem-lab/none:1', imageId: id });
        expect(await docker.start(unit)).toMatchObject({ running: true, imageId: id });
        await expect(resolveImage(host, { reference: 'tandem-lab/none:1', ...request })).rejects.toMatchObject({
          code: 'IMAGE_UNAVAILABLE',
        });
      });

      describe('asks registries, and keeps no credentials', () => {
        const image = 'team/engine:1';
        const request = { policy: 'missing', pullTimeoutMs: ANSWER_MS } as const;
        const credentials = Buffer.from(`${LOGIN.user}:${LOGIN.password}`).toString('base64');
        afterEach(async () => {
          expect(await sh('grep -rlsF "$1" ~ /dev/shm/tandem-* /tmp/tandem-???????????????? || :', credentials)).toBe(
            '',
          );
        });

        it('for an image, which it then has under its name and its digest', async () => {
          const reference = `${REGISTRY}/${image}`;
          const resolved = await resolveImage(host, { ...request, reference });
          expect(await resolveImage(host, { ...request, reference, policy: 'never' })).toEqual(resolved);
          const argv = ['docker', 'image', 'inspect', '--format', '{{json .RepoDigests}}', reference];
          const digests = JSON.parse(await host.must({ argv, timeoutMs: ANSWER_MS })) as readonly string[];
          const digest = digests.find((each) => each.startsWith(`${REGISTRY}/team/engine@sha256:`))!;
          expect(await resolveImage(host, { ...request, reference: digest, policy: 'always' })).toEqual(resolved);
        });

        it('at a mirror, and has it under its own name', async () => {
          const resolved = await resolveImage(host, { ...request, reference: image, mirror: REGISTRY });
          expect(await resolveImage(host, { ...request, reference: image, policy: 'never' })).toEqual(resolved);
        });

        it('with a login, and is refused without one, with a wrong one, and where there is no such tag', async () => {
          const refusal = (evidence: RegExp) => ({
            code: 'IMAGE_UNAVAILABLE',
            retryable: false,
            message: expect.stringContaining('is refused by its registry') as unknown,
            evidence: expect.stringMatching(evidence) as unknown,
          });
          const closed = { ...request, reference: `${CLOSED_REGISTRY}/${image}` };
          await expect(resolveImage(host, closed)).rejects.toMatchObject(refusal(/no basic auth credentials/));
          const wrong = { ...LOGIN, password: 'wrong' };
          await expect(resolveImage(host, { ...closed, login: wrong })).rejects.toMatchObject(
            refusal(/login attempt to .* failed with status: 401 Unauthorized/),
          );
          const { id } = await resolveImage(host, { ...closed, login: LOGIN });
          expect(id).toMatch(/^sha256:/);
          const other = { ...request, reference: `${REGISTRY}/team/engine:2` };
          await expect(resolveImage(host, other)).rejects.toMatchObject(refusal(/manifest unknown/));
        });

        it('and says when one does not answer, which may pass', async () => {
          const silent = { ...request, reference: '127.0.0.1:1/none:1' };
          const failure = { code: 'IMAGE_UNAVAILABLE', retryable: true };
          await expect(resolveImage(host, silent)).rejects.toMatchObject(failure);
          await expect(resolveImage(host, { ...silent, login: LOGIN })).rejects.toMatchObject(failure);
        });
      });

      it('that is stopped is said to be; what ran has ended once it is back, and can be started again', async () => {
        const unit = containerOf(ARGV);
        const first = await docker.start(unit);
        await world.stopDocker();
        const failure = { code: 'COMMAND_FAILED', retryable: true, message: expect.stringContaining('does not run') };
        await expect(docker.find(unit.labels)).rejects.toMatchObject(failure);
        await expect(docker.start(containerOf(ARGV))).rejects.toMatchObject(failure);
        await world.startDocker();
        expect(await stateOf(docker, unit)).toMatchObject({ running: false, exitCode: 137 });
        await docker.restart(unit.name);
        const again = await stateOf(docker, unit);
        expect(again).toMatchObject({ running: true, imageId: first.imageId });
      });
    });

    const asRoot = process.getuid?.() === 0 ? it : it.skip;
    asRoot('has a disk that may be full: what cannot be written is said, and no half of it is left', async () => {
      const full = await world.fullDisk();
      const at = world.drivers.host({ ...world.ref, stateDir: `${full}/state`, leaseDir: `${full}/leases` });
      const failure = { code: 'COMMAND_FAILED', host: world.ref.name };
      const noSpace = { evidence: expect.stringMatching(/no space left/i) as unknown };
      await expect(at.writeFile(`${full}/file`, 'x')).rejects.toMatchObject({ ...failure, ...noSpace });
      await expect(at.runtime('process').start(unitOf(ARGV))).rejects.toMatchObject(failure);
      const owner = { cluster: CLUSTER, installation: 'run-1', deployment: 3 };
      await expect(at.leases.take(['0000:05:00.0'], owner)).rejects.toMatchObject(noSpace);
      expect(await sh('find "$1" -type f', full)).toBe(`${full}/fill\n`);
    });

    describe('has GPU leases', () => {
      const GPUS = ['0000:05:00.0', '0000:15:00.0', '0000:25:00.0'];
      const ours = { cluster: CLUSTER, installation: 'run-1', deployment: 3 };
      const theirs = { cluster: 'llama', installation: 'run-2', deployment: 1 };
      const held = async () => (await host.leases.list()).map(({ pci, cluster }) => `${pci} ${cluster}`);

      it('taken whole or not at all, released by their owner, and broken with a note', async () => {
        await host.leases.take([GPUS[1]!], theirs);
        await expect(host.leases.take(GPUS, ours)).rejects.toMatchObject({
          code: 'LEASE_HELD',
          message: expect.stringContaining('cluster llama') as unknown,
        });
        expect(await held()).toEqual([`${GPUS[1]} llama`]);
        await host.leases.take([GPUS[0]!, GPUS[2]!], ours);
        await host.leases.take([GPUS[0]!, GPUS[2]!], ours);
        await host.leases.release(GPUS, ours);
        expect(await held()).toEqual([`${GPUS[1]} llama`]);
        const note = { time: '2026-01-01T00:00:00.000Z', actor: 'ada', reason: 'gone for good' };
        const seen = await host.leases.list();
        expect(await host.leases.breakHeld(seen, note)).toEqual(seen);
        expect(await held()).toEqual([]);
      });

      it('not without their folder', async () => {
        const at = world.drivers.host({ ...world.ref, leaseDir: '/proc/no-such-folder' });
        await expect(at.leases.take(GPUS, ours)).rejects.toMatchObject({ code: 'LEASE_DIR_MISSING' });
        expect(await at.leases.list()).toEqual([]);
      });
    });
  });
}
