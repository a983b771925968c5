import { join } from 'node:path';
import { execa } from 'execa';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers } from '../../src/drivers/types.ts';
import type { ContainerPlan, HostRef } from '../../src/plan/types.ts';
import { simulate } from '../support/simulation.ts';
import { PROJECT_THERE } from './host.ts';
import { ENGINE_IMAGE, ENGINE_MOUNTS } from './images.ts';
import { startLab, whyNoLab } from './lab.ts';

/** A host that the contract is held against. */
export interface World {
  readonly drivers: Drivers;
  readonly ref: HostRef;
  /** An image that is there. Its containers have sh, cat and sleep where they have these mounts. */
  readonly image: string;
  readonly mounts: ContainerPlan['mounts'];
  /** Where, or as whom, Docker may not be used. */
  readonly denied: HostRef;
  /** A host without the docker program. */
  readonly bare: HostRef;
  /** Ends the Docker Engine as `systemctl stop docker` does. */
  stopDocker(): Promise<void>;
  /** Starts it; returns once it answers. */
  startDocker(): Promise<void>;
  /** A folder on a disk of its own that has no room left; only root can make one. */
  fullDisk(): Promise<string>;
  close(): Promise<void>;
}

export const WORLDS: readonly {
  readonly name: string;
  /** Why it cannot be had here. */
  readonly missing: string | undefined;
  readonly start: (runtimeDir: string) => Promise<World>;
}[] = [
  { name: 'a simulated host', missing: undefined, start: simulated },
  { name: 'a real host', missing: await whyNoLab(), start: real },
];

/** Registries of every world: each has team/engine:1, and the second gives it only with the login. */
export const REGISTRY = '127.0.0.1:5000';
export const CLOSED_REGISTRY = '127.0.0.1:5001';
export const LOGIN = { user: 'contract', password: 'p:w' } as const;
const RUN_REGISTRIES = `setsid ${process.execPath} ${PROJECT_THERE}/test/lab/registry.mjs "$@" </dev/null >/dev/null 2>&1 &
curl -s --retry 20 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$2/"`;

/** Makes a disk of four pages, and fills it: its folder. */
const FULL_DISK =
  'mkdir "$1" && mount -t tmpfs -o size=16k,mode=777 full "$1" && head -c 20000 /dev/zero >"$1/fill" || [ -e "$1/fill" ]';

const SIMULATED_IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';

async function simulated(runtimeDir: string): Promise<World> {
  const simulation = await simulate({
    hosts: [
      { name: 'contract', address: '127.82.95.1', images: [SIMULATED_IMAGE] },
      { name: 'denied', address: '127.82.95.2', docker: { state: 'denied' } },
      { name: 'bare', address: '127.82.95.3', docker: { state: 'absent' } },
    ],
    images: [
      { reference: SIMULATED_IMAGE },
      { reference: `${REGISTRY}/team/engine:1`, pullSeconds: 0 },
      { reference: `${CLOSED_REGISTRY}/team/engine:1`, pullSeconds: 0, login: LOGIN },
    ],
  });
  const { identityFile, knownHostsFile, hosts } = simulation.state;
  const drivers = createDrivers({ runtimeDir });
  const [ref, denied, bare] = hosts.map(({ name, address, port, user }) =>
    refTo({ name, address, port, user }, { identityFile, knownHostsFile }),
  ) as [HostRef, HostRef, HostRef];
  const host = simulation.host(ref.name);
  const full = join(host.home, 'full');
  return {
    drivers,
    ref,
    image: SIMULATED_IMAGE,
    mounts: [],
    denied,
    bare,
    stopDocker: () => host.stopDocker(),
    startDocker: () => host.startDocker(),
    fullDisk: async () => {
      await execa('sh', ['-c', FULL_DISK, 'sh', full]);
      return full;
    },
    close: async () => {
      await drivers.close();
      await execa('umount', [full], { reject: false });
      await simulation.stop();
    },
  };
}

async function real(runtimeDir: string): Promise<World> {
  const lab = await startLab('contract', [{ name: 'contract' }, { name: 'bare', images: [] }]);
  const host = lab.host('contract');
  const refOf = (name: string, user: string) => refTo({ name, address: lab.host(name).address, port: 22, user }, lab);
  const drivers = createDrivers({ runtimeDir });
  await lab.host('bare').run(['sh', '-c', 'rm -f $(which -a docker)']);
  const ports = [REGISTRY, CLOSED_REGISTRY].map((registry) => registry.split(':')[1]!);
  await host.run(['sh', '-c', RUN_REGISTRIES, 'sh', ...ports, `${LOGIN.user}:${LOGIN.password}`]);
  return {
    drivers,
    ref: refOf('contract', lab.user),
    image: ENGINE_IMAGE,
    mounts: ENGINE_MOUNTS,
    denied: refOf('contract', lab.sudoer),
    bare: refOf('bare', lab.user),
    stopDocker: () => host.stopDocker(),
    startDocker: () => host.startDocker(),
    fullDisk: async () => {
      const folder = `/home/${lab.user}/full`;
      await host.run(['sh', '-c', FULL_DISK, 'sh', folder]);
      return folder;
    },
    close: async () => {
      await drivers.close();
      await lab.stop();
    },
  };
}

const refTo = (
  at: Pick<HostRef, 'name' | 'address' | 'port' | 'user'>,
  ssh: Pick<HostRef['ssh'], 'identityFile' | 'knownHostsFile' | 'configFile'>,
): HostRef => ({
  ...at,
  fabricAddress: at.address,
  ssh: {
    knownHostsFile: ssh.knownHostsFile,
    jump: [],
    become: 'none',
    ...(ssh.identityFile === undefined ? {} : { identityFile: ssh.identityFile }),
    ...(ssh.configFile === undefined ? {} : { configFile: ssh.configFile }),
  },
  stateDir: '~/.tandem',
  leaseDir: '~/leases',
});
