import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';
import type { z } from 'zod';
import { machineOf, type Machine } from '../../src/sim/machine.ts';
import { machineFiles } from '../../src/sim/machine-files.ts';
import { Scenario } from '../../src/sim/scenario.ts';
import { newKeyPair } from '../../src/sim/ssh-keys.ts';
import { until } from '../support/processes.ts';

/**
 * Real hosts on this machine: network, mount, UTS and PID namespaces with a disk, users, an OpenSSH server and a Docker
 * Engine of their own. Only the hardware is made up: tools and files show what a scenario says. Needs root.
 */
export interface Lab {
  readonly hosts: readonly LabHost[];
  readonly user: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** Of ssh: a quick key exchange, which is over half of what a login costs here. */
  readonly configFile: string;
  host(name: string): LabHost;
  /** Ends every host. Errors: what could not be taken down, by name. */
  stop(): Promise<void>;
}

export interface LabHost {
  readonly name: string;
  readonly address: string;
  /** Runs a command as root within the host. */
  run(
    argv: readonly string[],
  ): Promise<{ readonly stdout: string; readonly stderr: string; readonly exitCode: number }>;
  /** Every process of it dies at once, and its disk with them. */
  powerOff(): Promise<void>;
  /** Boots it with an empty disk; returns once it answers. */
  powerOn(): Promise<void>;
}

/** One host of a lab. */
export interface LabHostOptions {
  readonly name: string;
  readonly docker?: boolean;
  /** What its hardware is, where it is unusual. */
  readonly machine?: Partial<z.input<typeof Scenario>['hosts'][number]>;
}

const HERE = dirname(fileURLToPath(import.meta.url));
const PROJECT = join(HERE, '..', '..');
/** Where a host has the project. */
const PROJECT_THERE = '/opt/tandem';
const ROOM = '/run/tandem-lab';
/** Network namespaces and control groups are named after it too, by which a lab is found again whoever started it. */
const BRIDGE = 'tandem-lab';
const NETWORK = '10.77';
const USER = 'ops';
/** Of the tools that the simulator has: those of hardware that this machine does not have. */
const HARDWARE_TOOLS = [
  'amd-smi',
  'rocm-smi',
  'rocminfo',
  'ibv_devices',
  'ibv_devinfo',
  'ibstat',
  'rdma',
  'ib_write_bw',
];
const READY_MS = 30_000;

/** The engine image: the simulated engine as a program of this machine; its containers need these mounts of their host. */
export const ENGINE_IMAGE = 'tandem-lab/engine:v0.5.23-rocm720-mi30x';
export const ENGINE_MOUNTS = [
  { source: '/usr', target: '/host/usr', readOnly: true },
  { source: PROJECT_THERE, target: PROJECT_THERE, readOnly: true },
] as const;
/** Makes an image of links and one script: what it runs is mounted. */
const IMPORT_ENGINE = String.raw`
set -e
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/opt/engine" "$root/tmp" "$root/etc"
for each in bin sbin lib lib64; do [ ! -e "/usr/$each" ] || ln -s "host/usr/$each" "$root/$each"; done
cp /etc/passwd /etc/group "$root/etc/"
echo render:x:993: >>"$root/etc/group"
cat >"$root/opt/engine/python3" <<'SCRIPT'
#!/bin/sh
[ "$1 $2" = "-m sglang.launch_server" ] || { echo "no such program: $*" >&2; exit 127; }
shift 2
exec node /opt/tandem/dist/src/sim/engine/main.js "$@"
SCRIPT
chmod 755 "$root/opt/engine/python3"
tar -C "$root" -c . | docker import --change "ENV PATH=/opt/engine:/bin" - "$1" >/dev/null
docker save "$1"
`;
/** Hosts get the same image, which is made by the first of them that comes up. */
let engine: Promise<string> | undefined;

/** Why no lab can run here; undefined where one can. */
export async function whyNoLab(): Promise<string | undefined> {
  if (userInfo().uid !== 0) return 'it needs root';
  for (const tool of ['ip', 'nsenter', 'unshare', 'sshd', 'dockerd', 'containerd', 'runc', 'sudo', 'useradd']) {
    if ((await execa('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${tool}`], { reject: false })).exitCode !== 0)
      return `${tool} is not installed`;
  }
  const made = await execa('unshare', ['-m', '-u', '-p', '-n', '-f', 'true'], { reject: false });
  return made.exitCode === 0 ? undefined : `namespaces cannot be made: ${made.stderr}`;
}

/** Brings up hosts at 10.77.1.1, 10.77.1.2, … Errors: where a lab is there already, and where a host does not answer in time. */
export async function startLab(hosts: readonly LabHostOptions[]): Promise<Lab> {
  const left = await remains();
  if (left.length > 0)
    throw new Error(`a lab is there already: ${left.join(', ')}; \`npm run lab down\` takes it down`);
  await mkdir(ROOM, { mode: 0o700 });
  try {
    const login = newKeyPair();
    const file = (name: string) => join(ROOM, name);
    await writeFile(file('id'), login.private, { mode: 0o600 });
    await writeFile(file('ssh_config'), 'Host *\n  KexAlgorithms curve25519-sha256\n');
    await execa('ip', ['link', 'add', BRIDGE, 'type', 'bridge']);
    await execa('ip', ['address', 'add', `${NETWORK}.0.1/16`, 'dev', BRIDGE]);
    await execa('ip', ['link', 'set', BRIDGE, 'up']);
    const made = await Promise.all(hosts.map((host, index) => makeHost(host, index, login.public)));
    await writeFile(file('known_hosts'), made.map(({ address, hostKey }) => `${address} ${hostKey}\n`).join(''));
    await Promise.all(made.map((host) => host.powerOn()));
    return {
      hosts: made,
      user: USER,
      identityFile: file('id'),
      knownHostsFile: file('known_hosts'),
      configFile: file('ssh_config'),
      host: (name) => made.find((host) => host.name === name)!,
      stop: takeDown,
    };
  } catch (error) {
    await takeDown().catch(() => undefined); // The first failure is the one to tell.
    throw error;
  }
}

async function makeHost(
  { name, docker = true, machine = {} }: LabHostOptions,
  index: number,
  loginKey: string,
): Promise<LabHost & { readonly hostKey: string }> {
  const [address, dir, namespace] = [`${NETWORK}.1.${index + 1}`, join(ROOM, name), `${BRIDGE}-${name}`];
  const hostKey = newKeyPair();
  // That a simulated host is at a loopback address is the scenario's own rule; tools show none.
  const { hosts } = Scenario.parse({ hosts: [{ name, address: `127.0.2.${index + 1}`, ...machine }] });
  await mkdir(join(dir, 'disk'), { recursive: true });
  const shown = machineOf(hosts[0]!, index, 'lab', []);
  await writeTree(join(dir, 'tree'), shown, { loginKey, hostKey: hostKey.private });
  await execa('ip', ['netns', 'add', namespace]);
  await execa('ip', ['link', 'add', `lab${index}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace]);
  await execa('ip', ['link', 'set', `lab${index}`, 'master', BRIDGE, 'up']);
  await execa('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
  // RDMA devices have no network of their own here.
  const nics = shown.nics.flatMap((nic) => (nic.address === undefined ? [] : [nic.address]));
  for (const each of [address, ...nics])
    await execa('ip', ['-n', namespace, 'address', 'add', `${each}/16`, 'dev', 'eth0']);
  await execa('ip', ['-n', namespace, 'link', 'set', 'eth0', 'up']);

  const run: LabHost['run'] = (argv) => inHost(name, argv);
  const isUp = async () => {
    const greeting = `exec 3<>/dev/tcp/${address}/22 && read -t 2 -u 3 line && [[ $line = SSH* ]]`;
    if ((await execa('bash', ['-c', greeting], { reject: false })).exitCode !== 0) return false;
    return !docker || (await run(['docker', 'version'])).exitCode === 0;
  };
  return {
    name,
    address,
    hostKey: hostKey.public,
    run,
    powerOff: () => endHost(name),
    async powerOn() {
      const log = openSync(join(dir, 'log'), 'w');
      const init = [join(HERE, 'host-init.sh'), dir, name, USER, PROJECT, docker ? 'docker' : ''];
      // Its own session: it lives on when whoever started it is killed, and is found again by its folder.
      const words = [
        `--net=/run/netns/${namespace}`,
        'unshare',
        '-m',
        '-u',
        '-p',
        '-f',
        '--kill-child',
        'bash',
        ...init,
      ];
      const child = spawn('nsenter', words, { detached: true, stdio: ['ignore', log, log] });
      closeSync(log);
      child.unref();
      await writeFile(join(dir, 'pid'), String(child.pid));
      await until(`lab host ${name} answers`, isUp, READY_MS).catch(async (error: Error) => {
        throw new Error(`${error.message}; ${await readFile(join(dir, 'log'), 'utf8')}`);
      });
      if (docker) await loadEngine(name);
    },
  };
}

async function loadEngine(name: string): Promise<void> {
  const made = async () => {
    const file = join(ROOM, 'engine.tar');
    await needs(inHost(name, ['sh', '-c', IMPORT_ENGINE, 'sh', ENGINE_IMAGE], { stdout: { file } }));
    return file;
  };
  const inputFile = await (engine ??= made());
  await needs(inHost(name, ['docker', 'load', '--quiet'], { inputFile }));
}

async function needs(command: ReturnType<typeof inHost>): Promise<void> {
  const { exitCode, stderr } = await command;
  if (exitCode !== 0) throw new Error(`a command in a lab host ended with ${exitCode}: ${stderr}`);
}

/** What a host has of this machine's, and does not: files and tools of its hardware, keys. */
async function writeTree(
  tree: string,
  machine: Machine,
  { loginKey, hostKey }: { readonly loginKey: string; readonly hostKey: string },
): Promise<void> {
  const files = join(tree, 'files');
  const put = async (path: string, content: string, mode = 0o644) => {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content, { mode });
  };
  const devices: string[] = [];
  for (const [path, file] of machineFiles(machine)) {
    if (/^\/(proc|etc)\/|^\/dev\/null$/.test(path)) continue; // These are real.
    if (path.startsWith('/dev/')) devices.push(path);
    else if (typeof file === 'string') await put(join(files, path), file);
    else {
      await mkdir(dirname(join(files, path)), { recursive: true });
      await symlink(file.link, join(files, path));
    }
  }
  await put(join(tree, 'devices'), devices.map((path) => `${path}\n`).join(''));
  await put(join(tree, 'authorized_keys'), `${loginKey}\n`);
  await put(join(tree, 'host_key'), hostKey, 0o600);
  await put(join(files, 'etc/tandem-lab.json'), JSON.stringify(machine));
  const program = join(PROJECT_THERE, 'test/lab/tool.mjs');
  for (const tool of HARDWARE_TOOLS)
    await put(
      join(files, 'usr/local/bin', tool),
      `#!/bin/sh\nexec ${process.execPath} ${program} ${tool} "$@"\n`,
      0o755,
    );
}

/** Runs a command as root in a host of a lab, whoever started it. */
export async function inHost(name: string, argv: readonly string[], options: Options = {}) {
  const pid = await firstProcess(name);
  const { stdout, stderr, exitCode } = await execa('nsenter', ['-t', String(pid), '-a', ...argv], {
    ...options,
    reject: false,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' },
    extendEnv: false,
  });
  return { stdout: String(stdout ?? ''), stderr: String(stderr ?? ''), exitCode: exitCode ?? 255 };
}

/** The process that is the host's first one; its parent, outside, is the one to kill. */
async function firstProcess(name: string): Promise<number> {
  const outer = await outerProcess(name);
  if (outer === undefined) throw new Error(`lab host ${name} does not run`);
  return Number((await readFile(`/proc/${outer}/task/${outer}/children`, 'utf8')).trim().split(' ')[0]);
}

/** Undefined where the host is off. A pid is another program's where its command line does not name the host's folder. */
async function outerProcess(name: string): Promise<number | undefined> {
  const pid = await readFile(join(ROOM, name, 'pid'), 'utf8').catch(() => '');
  const line = pid === '' ? '' : await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return line.split('\0').includes(join(ROOM, name)) ? Number(pid) : undefined;
}

async function endHost(name: string): Promise<void> {
  const pid = await outerProcess(name);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await until(`lab host ${name} is off`, async () => (await outerProcess(name)) === undefined, READY_MS);
}

/** Takes a lab down, also what is left of one whose starter was killed. Errors: what stays, by name. */
export async function takeDown(): Promise<void> {
  const hosts = (await readdir(ROOM, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory());
  await Promise.all(hosts.map(({ name }) => endHost(name)));
  for (const namespace of await namespaces()) await execa('ip', ['netns', 'delete', namespace], { reject: false });
  await execa('ip', ['link', 'delete', BRIDGE], { reject: false });
  // Containers that were killed with their engine leave empty groups.
  await execa('sh', ['-c', `find /sys/fs/cgroup -depth -path '*/${BRIDGE}-*' -type d -exec rmdir {} + 2>/dev/null`], {
    reject: false,
  });
  await rm(ROOM, { recursive: true, force: true });
  engine = undefined;
  const left = await remains();
  if (left.length > 0) throw new Error(`the lab is not all gone: ${left.join(', ')}`);
}

/** What there is of a lab, by name. */
export async function remains(): Promise<readonly string[]> {
  const groups = await execa('find', ['/sys/fs/cgroup', '-maxdepth', '2', '-name', `${BRIDGE}-*`], { reject: false });
  return [
    ...(await namespaces()).map((name) => `network namespace ${name}`),
    ...(existsSync(`/sys/class/net/${BRIDGE}`) ? [`bridge ${BRIDGE}`] : []),
    ...(existsSync(ROOM) ? [`folder ${ROOM}`] : []),
    ...groups.stdout.split('\n').filter((line) => line !== ''),
  ];
}

const namespaces = async (): Promise<readonly string[]> =>
  (await readdir('/run/netns').catch(() => [])).filter((name) => name.startsWith(`${BRIDGE}-`));
