import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa, type Options } from 'execa';
import type { z } from 'zod';
import { machineOf, type Machine } from '../../src/sim/machine.ts';
import { machineFiles } from '../../src/sim/machine-files.ts';
import { Scenario } from '../../src/sim/scenario.ts';
import { newKeyPair } from '../../src/sim/ssh-keys.ts';
import { START_MS } from '../support/patience.ts';
import { until } from '../support/processes.ts';
import type { LabImage, LabImages } from './images.ts';

/** Where a lab is: its folder, and the names of what it makes beside it. */
export interface Site {
  readonly room: string;
  readonly bridge: string;
  /** First two numbers of its addresses. */
  readonly network: string;
  /** Begins the names of its network namespaces and control groups, by which it is found again whoever started it. */
  readonly prefix: string;
}

/** A host of a lab. */
export interface LabHost {
  readonly name: string;
  readonly address: string;
  /** The control group of its containers. */
  readonly group: string;
  /** Runs a command as root within the host. */
  run(
    argv: readonly string[],
  ): Promise<{ readonly stdout: string; readonly stderr: string; readonly exitCode: number }>;
  /** Ends its Docker Engine, as its service manager would. */
  stopDocker(): Promise<void>;
  /** Starts it; returns once it answers. */
  startDocker(): Promise<void>;
  /** Every process of it dies at once. */
  powerOff(): Promise<void>;
  /** Boots it, with the disk that it had; returns once it answers. */
  powerOn(): Promise<void>;
}

/** One host of a lab. */
export interface LabHostOptions {
  readonly name: string;
  /** Images that it has; none: it has no Docker Engine. Default: that of the engines. */
  readonly images?: readonly LabImage[];
  /** Folders of this machine that it has at the same paths, to read: of others it has its own. */
  readonly shared?: readonly string[];
  /** What its link carries in each direction; default: what the machine does. */
  readonly megabitsPerSecond?: number;
  /** What its hardware is, where it is unusual. */
  readonly machine?: Partial<z.input<typeof Scenario>['hosts'][number]>;
}

const HERE = dirname(fileURLToPath(import.meta.url));
export const PROJECT = join(HERE, '..', '..');
/** Where a host has the project. */
export const PROJECT_THERE = '/opt/tandem';
/** Who logs in: one may use Docker, the other may become root. */
export const USER = 'ops';
export const SUDOER = 'dev';
const DISK = 'size=3g,mode=755';
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

/** Makes a host that is off, at the address of its index. */
export async function makeHost(
  site: Site,
  { name, images = ['engine'], shared = [], megabitsPerSecond, machine = {} }: LabHostOptions,
  index: number,
  { loginKey, store }: { readonly loginKey: string; readonly store: LabImages },
): Promise<LabHost & { readonly hostKey: string }> {
  const [address, dir, namespace] = [`${site.network}.1.${index + 1}`, join(site.room, name), site.prefix + name];
  const docker = images.length > 0;
  const hostKey = newKeyPair();
  // That a simulated host is at a loopback address is the scenario's own rule; tools show none.
  const { hosts } = Scenario.parse({ hosts: [{ name, address: `127.0.2.${index + 1}`, ...machine }] });
  await mkdir(join(dir, 'disk'), { recursive: true });
  await execa('mount', ['-t', 'tmpfs', '-o', DISK, namespace, join(dir, 'disk')]);
  const shown = machineOf(hosts[0]!, index, 'lab', []);
  await writeTree(join(dir, 'tree'), shown, { loginKey, hostKey: hostKey.private });
  await execa('ip', ['netns', 'add', namespace]);
  const cable = `${site.network}-${index}`;
  await execa('ip', ['link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace]);
  await execa('ip', ['link', 'set', cable, 'master', site.bridge, 'up']);
  await execa('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
  // RDMA devices have no network of their own here.
  const nics = shown.nics.flatMap((nic) => (nic.address === undefined ? [] : [nic.address]));
  for (const each of [address, ...nics])
    await execa('ip', ['-n', namespace, 'address', 'add', `${each}/16`, 'dev', 'eth0']);
  await execa('ip', ['-n', namespace, 'link', 'set', 'eth0', 'up']);
  if (megabitsPerSecond !== undefined) {
    const shape = ['root', 'tbf', 'rate', `${megabitsPerSecond}mbit`, 'burst', '64k', 'latency', '50ms'];
    await execa('tc', ['qdisc', 'add', 'dev', cable, ...shape]);
    await execa('tc', ['-n', namespace, 'qdisc', 'add', 'dev', 'eth0', ...shape]);
  }

  const run: LabHost['run'] = (argv) => inHost(site, name, argv);
  const isUp = async () => {
    const greeting = `exec 3<>/dev/tcp/${address}/22 && read -t 2 -u 3 line && [[ $line = SSH* ]]`;
    if ((await execa('bash', ['-c', greeting], { reject: false })).exitCode !== 0) return false;
    return !docker || (await run(['docker', 'version'])).exitCode === 0;
  };
  return {
    name,
    address,
    group: namespace,
    hostKey: hostKey.public,
    run,
    async stopDocker() {
      await needs(run(['sh', '-c', 'kill "$(cat /var/run/docker.pid)"']));
      const isOver = async () => (await run(['pgrep', '-x', 'dockerd'])).exitCode !== 0;
      await until(`the Docker Engine of lab host ${name} has ended`, isOver, { limitMs: START_MS, everyMs: 50 });
    },
    async startDocker() {
      await needs(run(['start-docker']));
      const answers = async () => (await run(['docker', 'version'])).exitCode === 0;
      await until(`the Docker Engine of lab host ${name} answers`, answers, { limitMs: START_MS, everyMs: 50 });
    },
    powerOff: () => endHost(site, name),
    async powerOn() {
      const log = openSync(join(dir, 'log'), 'w');
      const init = [
        join(HERE, 'host-init.sh'),
        dir,
        namespace,
        name,
        `${USER} ${SUDOER}`,
        PROJECT,
        docker ? 'docker' : '',
        ...shared,
      ];
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
      await until(`lab host ${name} answers`, isUp, { limitMs: START_MS, everyMs: 50 }).catch(async (error: Error) => {
        throw new Error(`${error.message}; ${await readFile(join(dir, 'log'), 'utf8')}`);
      });
      for (const image of images) await store.load(name, image);
    },
  };
}

export async function needs(command: ReturnType<typeof inHost>): Promise<void> {
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
  for (const tool of HARDWARE_TOOLS) await put(join(files, 'usr/local/bin', tool), toolScript(tool), 0o755);
}

/**
 * The hardware does not change: what a tool printed once it prints again, without a Node.js started for it. Only a
 * bandwidth test is one each time.
 */
const toolScript = (tool: string): string => `#!/bin/sh
run() { ${process.execPath} ${PROJECT_THERE}/test/lab/tool.mjs ${tool} "$@"; }
case ${tool} in ib_write_bw) run "$@"; exit ;; esac
kept=/run/lab-tools/${tool}$(printf ' %s' "$@" | tr / _)
[ -e "$kept" ] && exec cat -- "$kept"
run "$@" >"$kept.$$" || { code=$?; cat -- "$kept.$$"; rm -f -- "$kept.$$"; exit $code; }
mv -- "$kept.$$" "$kept"
exec cat -- "$kept"
`;

/** Runs a command as root in a host of a lab, whoever started it. */
export async function inHost(site: Site, name: string, argv: readonly string[], options: Options = {}) {
  const pid = await firstProcess(site, name);
  const { stdout, stderr, exitCode } = await execa('nsenter', ['-t', String(pid), '-a', ...argv], {
    ...options,
    reject: false,
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' },
    extendEnv: false,
  });
  return { stdout: String(stdout ?? ''), stderr: String(stderr ?? ''), exitCode: exitCode ?? 255 };
}

/** The process that is the host's first one; its parent, outside, is the one to kill. */
async function firstProcess(site: Site, name: string): Promise<number> {
  const outer = await outerProcess(site, name);
  if (outer === undefined) throw new Error(`lab host ${name} does not run`);
  return Number((await readFile(`/proc/${outer}/task/${outer}/children`, 'utf8')).trim().split(' ')[0]);
}

/** Undefined where the host is off. A pid is another program's where its command line does not name the host's folder. */
async function outerProcess({ room }: Site, name: string): Promise<number | undefined> {
  const pid = await readFile(join(room, name, 'pid'), 'utf8').catch(() => '');
  const line = pid === '' ? '' : await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return line.split('\0').includes(join(room, name)) ? Number(pid) : undefined;
}

export async function endHost(site: Site, name: string): Promise<void> {
  const pid = await outerProcess(site, name);
  if (pid !== undefined) process.kill(pid, 'SIGKILL');
  await until(`lab host ${name} is off`, async () => (await outerProcess(site, name)) === undefined, {
    limitMs: START_MS,
    everyMs: 50,
  });
}
