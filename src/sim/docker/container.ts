import type { ContainerConfig } from './run-flags.ts';
import type { Unit } from './unit.ts';

/** A container of a simulated Docker engine. What is readonly here is kept on disk. */
export interface Container {
  readonly id: string;
  readonly name: string;
  readonly created: string;
  readonly imageId: string;
  readonly config: ContainerConfig;
  state: ContainerState;
  /** Only while it runs. */
  unit: Unit | undefined;
  readonly log: LogLine[];
  /** Called with every line that is added to the log. */
  readonly followers: Set<(line: LogLine) => void>;
}

export interface ContainerState {
  readonly status: 'created' | 'running' | 'exited';
  readonly pid: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly error: string;
  readonly startedAt: string;
  readonly finishedAt: string;
}

export interface LogLine {
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  /** With its line end. */
  readonly text: string;
}

/** Docker's time for "never". */
export const NEVER = '0001-01-01T00:00:00Z';

export const argvOf = ({ entrypoint, command }: ContainerConfig): readonly string[] =>
  entrypoint === undefined || entrypoint === '' ? command : [entrypoint, ...command];

/** Where a path inside the container lies on the host; undefined outside its mounts. */
export function hostPath({ mounts }: ContainerConfig, path: string): string | undefined {
  const mount = mounts
    .filter(({ target }) => path === target || path.startsWith(`${target.replace(/\/$/, '')}/`))
    .toSorted((one, other) => other.target.length - one.target.length)[0];
  return mount && mount.source + path.slice(mount.target.replace(/\/$/, '').length);
}

/** `docker inspect`, one element. */
export function containerJson(container: Container): object {
  const { id, name, created, imageId, config, state } = container;
  const argv = argvOf(config);
  const nullable = (list: readonly unknown[]) => (list.length === 0 ? null : list);
  return {
    Id: id,
    Created: created,
    Path: argv[0] ?? '',
    Args: argv.slice(1),
    State: {
      Status: state.status,
      Running: state.status === 'running',
      Paused: false,
      Restarting: false,
      OOMKilled: state.oomKilled,
      Dead: false,
      Pid: state.pid,
      ExitCode: state.exitCode,
      Error: state.error,
      StartedAt: state.startedAt,
      FinishedAt: state.finishedAt,
    },
    Image: imageId,
    Name: `/${name}`,
    RestartCount: 0,
    Driver: 'overlay2',
    Platform: 'linux',
    HostConfig: {
      Binds: nullable(
        config.mounts
          .filter(({ make }) => make)
          .map(({ source, target, readOnly }) => `${source}:${target}${readOnly ? ':ro' : ''}`),
      ),
      LogConfig: { Type: config.logDriver, Config: config.logOpts },
      NetworkMode: config.network,
      RestartPolicy: { Name: config.restart, MaximumRetryCount: 0 },
      AutoRemove: config.autoRemove,
      CapAdd: nullable(config.capAdd),
      CapDrop: nullable(config.capDrop),
      GroupAdd: nullable(config.groups),
      IpcMode: config.ipc,
      PidMode: config.pidMode,
      Privileged: config.privileged,
      ReadonlyRootfs: config.readOnly,
      SecurityOpt: nullable(config.securityOpt),
      ShmSize: config.shmSize,
      Memory: config.memory,
      Devices: config.devices.map((device) => {
        const [path = '', inside = path, permissions = 'rwm'] = device.split(':');
        return { PathOnHost: path, PathInContainer: inside, CgroupPermissions: permissions };
      }),
      Ulimits: config.ulimits,
      Mounts: config.mounts
        .filter(({ make }) => !make)
        .map(({ source, target, readOnly }) => ({ Type: 'bind', Source: source, Target: target, ReadOnly: readOnly })),
    },
    Mounts: config.mounts.map(({ source, target, readOnly }) => ({
      Type: 'bind',
      Source: source,
      Destination: target,
      Mode: '',
      RW: !readOnly,
      Propagation: 'rprivate',
    })),
    Config: {
      Hostname: id.slice(0, 12),
      User: config.user,
      Env: config.env,
      Cmd: nullable(config.command),
      Image: config.image,
      WorkingDir: config.workdir,
      Entrypoint: config.entrypoint === undefined ? null : [config.entrypoint],
      Labels: config.labels,
      StopSignal: config.stopSignal,
      ...(config.stopTimeout === undefined ? {} : { StopTimeout: config.stopTimeout }),
    },
    NetworkSettings: { Networks: { [config.network]: {} } },
  };
}

/** One row of `docker ps --format json`. */
export function psRow(
  { id, name, created, config, state }: Container,
  truncate: boolean,
): Readonly<Record<string, string>> {
  const command = argvOf(config).join(' ');
  const image = config.image;
  return {
    Command: `"${truncate && command.length > 20 ? `${command.slice(0, 19)}…` : command}"`,
    CreatedAt: `${created.slice(0, 10)} ${created.slice(11, 19)} +0000 UTC`,
    ID: truncate ? id.slice(0, 12) : id,
    Image: image,
    Labels: Object.entries(config.labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(','),
    LocalVolumes: '0',
    Mounts: config.mounts.map(({ source }) => source).join(','),
    Names: name,
    Networks: config.network,
    Ports: '',
    RunningFor: ago(created),
    Size: '0B',
    State: state.status,
    Status: statusText(state),
  };
}

function statusText({ status, exitCode, startedAt, finishedAt }: ContainerState): string {
  if (status === 'created') return 'Created';
  return status === 'running' ? `Up ${ago(startedAt).replace(/ ago$/, '')}` : `Exited (${exitCode}) ${ago(finishedAt)}`;
}

function ago(time: string): string {
  const seconds = Math.round((Date.now() - Date.parse(time)) / 1000);
  if (seconds < 1) return 'Less than a second ago';
  if (seconds < 60) return `${seconds} second${seconds === 1 ? '' : 's'} ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return minutes === 1 ? 'About a minute ago' : `${minutes} minutes ago`;
  const hours = Math.floor(minutes / 60);
  return hours === 1 ? 'About an hour ago' : `${hours} hours ago`;
}
