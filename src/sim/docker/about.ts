import { whyUnreachable, type Run } from './call.ts';
import { format } from './format.ts';

/** docker version */
export function version(it: Run): number {
  const { host, call, flags } = it;
  const { version: number } = host.scenario.docker;
  const client = {
    Version: '28.2.2',
    ApiVersion: '1.50',
    DefaultAPIVersion: '1.50',
    GitCommit: 'e6534b4',
    GoVersion: 'go1.24.3',
    Os: 'linux',
    Arch: 'amd64',
    BuildTime: 'Fri May 30 12:07:14 2025',
    Context: 'default',
  };
  const server = {
    Platform: { Name: 'Docker Engine - Community' },
    Components: [
      {
        Name: 'Engine',
        Version: number,
        Details: {
          ApiVersion: '1.50',
          Arch: 'amd64',
          GitCommit: '45873be',
          GoVersion: 'go1.24.3',
          KernelVersion: host.scenario.kernel,
          MinAPIVersion: '1.24',
          Os: 'linux',
        },
      },
      { Name: 'containerd', Version: '1.7.27', Details: { GitCommit: '05044ec' } },
      { Name: 'runc', Version: '1.2.5', Details: { GitCommit: 'v1.2.5-0-g59923ef' } },
    ],
    Version: number,
    ApiVersion: '1.50',
    MinAPIVersion: '1.24',
    GitCommit: '45873be',
    GoVersion: 'go1.24.3',
    Os: 'linux',
    Arch: 'amd64',
    KernelVersion: host.scenario.kernel,
  };
  const unreachable = whyUnreachable(it, 'version');
  const shown = { Client: client, Server: unreachable === undefined ? server : null };
  const template = flags.value('format');
  if (template !== undefined) call.stdout(`${format(template, shown)}\n`);
  else call.stdout(versionText(client, unreachable === undefined ? server : undefined));
  if (unreachable !== undefined) call.stderr(unreachable);
  return unreachable === undefined ? 0 : 1;
}

function versionText(
  client: { Version: string; ApiVersion: string },
  server: { Version: string; ApiVersion: string } | undefined,
): string {
  const row = (indent: string, name: string, value: string) =>
    `${indent}${`${name}:`.padEnd(19 - indent.length)}${value}\n`;
  const text = `Client:\n${row(' ', 'Version', client.Version)}${row(' ', 'API version', client.ApiVersion)}`;
  if (!server) return text;
  return `${text}\nServer: Docker Engine - Community\n Engine:\n${row('  ', 'Version', server.Version)}${row('  ', 'API version', `${server.ApiVersion} (minimum version 1.24)`)}`;
}

/** docker info */
export function info(it: Run): number {
  const { host, call, flags } = it;
  const unreachable = whyUnreachable(it, 'info');
  const { engine, scenario } = host;
  const states = [...engine.containers.values()].map(({ state }) => state.status);
  const running = states.filter((status) => status === 'running').length;
  const shown = {
    ...(unreachable === undefined
      ? {
          ID: 'f3a1c0de-0000-4000-8000-000000000000',
          Containers: states.length,
          ContainersRunning: running,
          ContainersPaused: 0,
          ContainersStopped: states.length - running,
          Images: engine.images.length,
          Driver: 'overlay2',
          CgroupDriver: 'systemd',
          CgroupVersion: '2',
          KernelVersion: scenario.kernel,
          OperatingSystem: scenario.os,
          OSType: 'linux',
          Architecture: 'x86_64',
          NCPU: scenario.cores,
          MemTotal: scenario.memoryGiB * 2 ** 30,
          DockerRootDir: '/var/lib/docker',
          Name: scenario.name,
          ServerVersion: scenario.docker.version,
          Runtimes: { runc: { path: 'runc' } },
          DefaultRuntime: 'runc',
          SecurityOptions: ['name=apparmor', 'name=seccomp,profile=builtin', 'name=cgroupns'],
          Warnings: null,
        }
      : { ServerErrors: [unreachable.trim()] }),
    ClientInfo: { Debug: false, Version: '28.2.2', Context: 'default', Plugins: [], Warnings: null },
  };
  const template = flags.value('format');
  if (template !== undefined) {
    call.stdout(`${format(template, shown)}\n`);
    return unreachable === undefined ? 0 : 1;
  }
  call.stdout(`Client:\n Version:    28.2.2\n Context:    default\n Debug Mode: false\n\nServer:\n`);
  if (unreachable !== undefined) {
    call.stderr(unreachable);
    return 1;
  }
  call.stdout(
    ` Containers: ${states.length}\n  Running: ${running}\n  Stopped: ${states.length - running}\n Images: ${engine.images.length}\n Server Version: ${scenario.docker.version}\n Storage Driver: overlay2\n Kernel Version: ${scenario.kernel}\n Operating System: ${scenario.os}\n Name: ${scenario.name}\n`,
  );
  return 0;
}
