import { DeployError } from '../errors.ts';
import type { Command, Host, Output, Runtime, UnitSpec, UnitState } from './types.ts';
import { ending } from '../text/raw.ts';
import { lastLines } from './last-lines.ts';

/** Docker's own answer to a question; a hung daemon must not hang the caller for long. */
const SHORT_MS = 60_000;
/** The first start of a large image may unpack for minutes. */
const START_MS = 300_000;

/** What `docker container inspect` prints of the containers that pass filters, nothing when there are none. */
const FIND =
  'ids=$(docker ps -a --no-trunc "$@" --format "{{.ID}}") || exit; [ -z "$ids" ] || exec docker container inspect $ids';

/** Docker tells what went to stderr apart, and so not in which order lines were written. */
const LOGS = 'exec docker "$@" 2>&1';

/** Names that the docker program itself reads: their values are given as arguments, and not through its environment. */
const READ_BY_DOCKER = /^(PATH|HOME|LD_.*|DOCKER_.*)$/;

/** Containers through the docker program on a host; flags that Docker 20.10 knows. Units are found by name and labels. */
export function dockerRuntime(host: Host): Runtime {
  const run = (argv: readonly string[], options: Partial<Command> = {}) =>
    host.run({ argv: ['docker', ...argv], timeoutMs: SHORT_MS, ...options });
  const must = async (argv: readonly string[], options?: Partial<Command>): Promise<Output> => {
    const output = await run(argv, options);
    if (output.exitCode !== 0) throw dockerFailure(host, argv, output);
    return output;
  };
  const inspect = async (name: string): Promise<UnitState | undefined> => {
    const argv = ['container', 'inspect', name];
    const output = await run(argv);
    if (output.exitCode === 0) return parseInspect(output.stdout)[0];
    if (isGone(output)) return undefined;
    throw dockerFailure(host, argv, output);
  };

  return {
    kind: 'docker',

    async start(unit) {
      const found = await inspect(unit.name);
      if (found) return attach(found, unit);
      const argv = runArguments(unit, await groupIds(host, unit.container?.groups ?? []));
      const output = await run(argv, { env: hiddenEnv(unit.env), timeoutMs: START_MS });
      if (output.exitCode === 0) return (await inspect(unit.name)) ?? gone(host, unit.name);
      if (isNameTaken(output)) {
        const other = await inspect(unit.name); // Another attempt was quicker.
        if (other) return attach(other, unit);
      }
      // A container that could not be started stays as "created"; it is ours, since its name was free.
      else await run(['rm', '-f', '-v', unit.name]);
      throw startFailure(host, unit, output);
    },

    async find(labels) {
      const filters = Object.entries(labels).flatMap(([key, value]) => ['--filter', `label=${key}=${value}`]);
      const output = await host.run({ argv: ['sh', '-c', FIND, 'docker ps', ...filters], timeoutMs: SHORT_MS });
      // One of them may have gone since; docker prints the others all the same, and [] for none.
      const goneSince = isGone(output) && output.stdout !== '';
      if (output.exitCode !== 0 && !goneSince) throw dockerFailure(host, ['ps', ...filters], output);
      return output.stdout === '' ? [] : parseInspect(output.stdout);
    },

    async stop(name, { timeoutSeconds }) {
      const argv = ['stop', '-t', String(timeoutSeconds), name];
      const output = await run(argv, { timeoutMs: timeoutSeconds * 1000 + SHORT_MS });
      if (output.exitCode !== 0 && !isGone(output)) throw dockerFailure(host, argv, output);
    },

    async restart(name) {
      await must(['start', name], { timeoutMs: START_MS });
    },

    async remove(name) {
      const argv = ['rm', '-f', '-v', name];
      const output = await run(argv);
      if (output.exitCode !== 0 && !isGone(output) && !/already in progress/i.test(output.stderr)) {
        throw dockerFailure(host, argv, output);
      }
    },

    logs: (name, { tailLines }) =>
      lastLines(tailLines, async (lines) => {
        const argv = ['logs', '--tail', String(lines), name];
        const output = await host.run({ argv: ['sh', '-c', LOGS, 'sh', ...argv], timeoutMs: SHORT_MS });
        if (output.exitCode !== 0) throw dockerFailure(host, argv, { ...output, stderr: output.stdout });
        return output;
      }),
  };

  async function attach(found: UnitState & { readonly created?: boolean }, unit: UnitSpec): Promise<UnitState> {
    const other = Object.entries(unit.labels).find(([key, value]) => found.labels[key] !== value);
    if (other) throw nameConflict(host, unit, found, other[0]);
    if (!found.created) return found;
    await must(['start', unit.name], { timeoutMs: START_MS }); // An attempt that died between making and starting it.
    return (await inspect(unit.name)) ?? gone(host, unit.name);
  }
}

/** `docker run …` for a unit; `groups` as the host's numbers. */
export function runArguments(unit: UnitSpec, groups: readonly string[]): string[] {
  const { name, labels, argv, env, stopTimeoutSeconds, container } = unit;
  if (!container) throw new TypeError(`unit ${name} has no container`);
  const [program, ...rest] = argv;
  const { image, imageId, hostIpc, shmSizeGiB, privileged } = container;
  const repeat = (flag: string, values: readonly string[]) => values.flatMap((value) => [flag, value]);
  const labelled = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const limits = Object.entries(container.ulimits).map(([key, value]) => `${key}=${value}`);
  const variables = Object.entries(env).map(([key, value]) => (READ_BY_DOCKER.test(key) ? `${key}=${value}` : key));
  return [
    ['run', '-d', '--name', name, '--network', 'host', '--restart', 'no', '--stop-timeout', String(stopTimeoutSeconds)],
    // The fetch step has brought the image; a start never waits for a registry.
    ['--pull', 'never'],
    // Unbounded logs fill the disk of a host that serves for months.
    ['--log-driver', 'json-file', '--log-opt', 'max-size=100m', '--log-opt', 'max-file=3'],
    repeat('--label', labelled),
    hostIpc ? ['--ipc', 'host'] : ['--shm-size', String(Math.round(shmSizeGiB * 2 ** 30))],
    privileged ? ['--privileged'] : repeat('--device', container.devices),
    repeat('--group-add', groups),
    repeat('--cap-add', container.capabilities),
    repeat('--security-opt', container.securityOptions),
    repeat('--ulimit', limits),
    repeat('--mount', container.mounts.map(mount)),
    repeat('-e', variables),
    program === undefined ? [] : ['--entrypoint', program],
    [imageId ?? image, ...rest],
  ].flat();
}

const hiddenEnv = (env: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(env).filter(([key]) => !READ_BY_DOCKER.test(key)));

/** docker reads a mount as a row of CSV. --mount, unlike -v, makes no folder where the source is missing. */
function mount({ source, target, readOnly }: { source: string; target: string; readOnly: boolean }): string {
  const field = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return ['type=bind', `source=${source}`, `target=${target}`, ...(readOnly ? ['readonly'] : [])].map(field).join(',');
}

/** Devices belong to groups of the host, whose numbers the image need not know; a name unknown here stays a name. */
async function groupIds(host: Host, groups: readonly string[]): Promise<string[]> {
  const named = groups.filter((group) => !/^\d+$/.test(group));
  const outputs = await host.runAll(named.map((group) => ({ argv: ['getent', 'group', group], timeoutMs: SHORT_MS })));
  const ids = new Map(named.map((group, index) => [group, /^[^:]*:[^:]*:(\d+)/.exec(outputs[index]!.stdout)?.[1]]));
  return groups.map((group) => ids.get(group) ?? group);
}

interface Inspected {
  readonly Name: string;
  readonly Path: string;
  readonly Args: readonly string[] | null;
  readonly Image: string;
  readonly Config: { readonly Labels: Readonly<Record<string, string>> | null };
  readonly State: {
    readonly Status: string;
    readonly Running: boolean;
    readonly ExitCode: number;
    readonly OOMKilled?: boolean;
    readonly Pid: number;
    readonly StartedAt: string;
  };
}

/** The units in what `docker container inspect` printed. */
function parseInspect(text: string): (UnitState & { readonly created?: boolean })[] {
  return (JSON.parse(text) as Inspected[]).map(({ Name, Path, Args, Image, Config, State }) => ({
    name: Name.replace(/^\//, ''),
    labels: Config.Labels ?? {},
    running: State.Running,
    ...(State.Running ? { pid: State.Pid } : {}),
    ...(State.Status === 'created' ? { created: true } : {}),
    ...(State.Status === 'exited' || State.Status === 'dead'
      ? { exitCode: State.ExitCode, oomKilled: State.OOMKilled ?? false }
      : {}),
    ...(State.StartedAt.startsWith('0001') ? {} : { startedAt: State.StartedAt }),
    imageId: Image,
    argv: [Path, ...(Args ?? [])],
  }));
}

const isGone = ({ stderr }: Output) => /no such (container|object)/i.test(stderr);
const isNameTaken = ({ stderr }: Output) => /is already in use by|conflict/i.test(stderr);

function nameConflict(host: Host, unit: UnitSpec, found: UnitState, key: string): DeployError {
  return new DeployError({
    code: 'NAME_CONFLICT',
    message: `${host.ref.name}: a container ${unit.name} is there with ${key}=${found.labels[key] ?? '(none)'}, wanted ${unit.labels[key]}`,
    remedy: `See "docker inspect ${unit.name}" on ${host.ref.name}; remove it if nobody needs it.`,
    retryable: false,
    host: host.ref.name,
  });
}

function startFailure(host: Host, unit: UnitSpec, output: Output): DeployError {
  const { stderr } = output;
  const image = unit.container!.imageId ?? unit.container!.image;
  return dockerFailure(host, ['run', unit.name], output, () =>
    /unable to find image|no such image|pull access denied|manifest unknown/i.test(stderr)
      ? new DeployError({
          code: 'IMAGE_UNAVAILABLE',
          message: `${host.ref.name}: the image ${image} is not there`,
          remedy: `Run "docker pull ${unit.container!.image}" on ${host.ref.name}, or set engine.pull.policy to missing.`,
          retryable: false,
          host: host.ref.name,
          evidence: ending(stderr),
        })
      : undefined,
  );
}

/**
 * Why docker did not do it, in the operator's words. `known` tells what only this command can mean: it is asked once Docker
 * itself is not to blame, whose words are like a registry's.
 */
export function dockerFailure(
  host: Host,
  argv: readonly string[],
  { stderr, exitCode }: Output,
  known: () => DeployError | undefined = () => undefined,
): DeployError {
  const { name, user } = host.ref;
  const failure = (message: string, remedy: string, retryable: boolean) =>
    new DeployError({
      code: 'COMMAND_FAILED',
      message: `${name}: ${message}`,
      remedy,
      retryable,
      host: name,
      evidence: ending(stderr),
    });
  // Docker and its daemon are named behind it, the socket in front of it.
  if (
    /docker|daemon/i.test(behind(stderr, 'permission denied')) ||
    /permission denied/i.test(behind(stderr, 'dial unix'))
  ) {
    return failure(
      `${user} may not use Docker`,
      `Run "sudo usermod -aG docker ${user}" on ${name} and log in anew, or set hosts.ssh.become to sudo.`,
      false,
    );
  }
  if (/cannot connect to the docker daemon|is the docker daemon running/i.test(stderr)) {
    return failure('the Docker daemon does not run', `Run "sudo systemctl start docker" on ${name}.`, true);
  }
  if ((exitCode === 127 || exitCode === 126) && /^(setsid|sh|docker ps): .*docker/m.test(stderr)) {
    return failure(
      'docker is not installed, or not on the PATH',
      `Install Docker on ${name}, or set engine.runtime.`,
      false,
    );
  }
  const what = `docker ${argv[0]} ${argv.at(-1)}`;
  return (
    known() ??
    failure(
      `${what} ended with exit code ${exitCode}`,
      exitCode === 127
        ? `The image lacks the program: see engine.command, and what docker said.`
        : `Read what docker said, and run it on ${name} by hand.`,
      false,
    )
  );
}

function gone(host: Host, name: string): never {
  throw new DeployError({
    code: 'COMMAND_FAILED',
    message: `${host.ref.name}: the container ${name} was removed as soon as it was started`,
    remedy: `See who removes containers on ${host.ref.name} ("docker events").`,
    retryable: true,
    host: host.ref.name,
  });
}

/** What follows the first of these words, in small letters; nothing where they are not there. */
function behind(text: string, words: string): string {
  const small = text.toLowerCase();
  const at = small.indexOf(words);
  return at < 0 ? '' : small.slice(at + words.length);
}
