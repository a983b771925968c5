import { existsSync } from 'node:fs';
import { appendFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { newKeyPair } from '../../src/sim/ssh-keys.ts';
import { alive } from '../support/processes.ts';
import { allOf } from '../support/temporal-stack.ts';
import { endHost, makeHost, SUDOER, USER, type LabHost, type LabHostOptions, type Site } from './host.ts';
import { LabImages } from './images.ts';

/**
 * Real hosts on this machine: network, mount, UTS and PID namespaces with a disk, users, an OpenSSH server and a Docker
 * Engine of their own. Only the hardware is made up: tools and files show what a scenario says. Needs root.
 */
export interface Lab {
  readonly hosts: readonly LabHost[];
  /** Who logs in, and may use Docker. */
  readonly user: string;
  /** Who logs in too, and may use Docker only as root, by sudo. */
  readonly sudoer: string;
  readonly identityFile: string;
  readonly knownHostsFile: string;
  /** Of ssh: a quick key exchange, which is over half of what a login costs here. */
  readonly configFile: string;
  host(name: string): LabHost;
  /** Ends every host. Errors: what could not be taken down, by name. */
  stop(): Promise<void>;
}

/** Labs that may be there at once, and the second number of their addresses. */
const NUMBERS = { hand: 77, deploy: 78, contract: 79, failures: 80, killed: 81, engines: 82, bench: 83 } as const;
export type LabName = keyof typeof NUMBERS;
const BY_HAND: LabName = 'hand';
/** File with the pid of the process that started a lab. */
const STARTER = 'starter';

export const siteOf = (name: LabName): Site => ({
  room: `/run/tandem-lab-${name}`,
  bridge: `tandem-${name}`,
  network: `10.${NUMBERS[name]}`,
  prefix: `tandem-lab-${name}-`,
});

/** Why no lab can run here; undefined where one can. */
export async function whyNoLab(): Promise<string | undefined> {
  if (userInfo().uid !== 0) return 'it needs root';
  for (const tool of [
    'ip',
    'tc',
    'nsenter',
    'unshare',
    'sshd',
    'docker',
    'dockerd',
    'containerd',
    'runc',
    'sudo',
    'useradd',
    'iptables',
  ]) {
    if ((await execa('sh', ['-c', `PATH=$PATH:/usr/sbin:/sbin; command -v ${tool}`], { reject: false })).exitCode !== 0)
      return `${tool} is not installed`;
  }
  const made = await execa('unshare', ['-m', '-u', '-p', '-n', '-f', 'true'], { reject: false });
  return made.exitCode === 0 ? undefined : `namespaces cannot be made: ${made.stderr}`;
}

/** Brings up hosts at 10.N.1.1, 10.N.1.2, … Errors: where that lab is in use, and where a host does not answer in time. */
export async function startLab(name: LabName, hosts: readonly LabHostOptions[]): Promise<Lab> {
  const site = siteOf(name);
  if (await isInUse(name))
    throw new Error(`lab ${name} is there: ${(await remains(site)).join(', ')}; \`npm run lab -- down\` takes it down`);
  await takeDown(site); // What is left of one whose test was killed.
  // Never there without its starter: another run would take it for what is left.
  const made = `${site.room}.${process.pid}`;
  await mkdir(made, { mode: 0o700 });
  await writeFile(join(made, STARTER), String(process.pid));
  await rename(made, site.room);
  const run = process.env['TANDEM_TEST_RUN'];
  if (run !== undefined) await appendFile(join(run, 'labs'), `${name}\n`); // For the guard, which takes down what is left.
  try {
    const login = newKeyPair();
    const store = new LabImages(site);
    const file = (of: string) => join(site.room, of);
    await writeFile(file('id'), login.private, { mode: 0o600 });
    await writeFile(file('ssh_config'), 'Host *\n  KexAlgorithms curve25519-sha256\n');
    await execa('ip', ['link', 'add', site.bridge, 'type', 'bridge']);
    await execa('ip', ['address', 'add', `${site.network}.0.1/16`, 'dev', site.bridge]);
    await execa('ip', ['link', 'set', site.bridge, 'up']);
    const up = await Promise.all(
      hosts.map((host, index) => makeHost(site, host, index, { loginKey: login.public, store })),
    );
    await writeFile(file('known_hosts'), up.map(({ address, hostKey }) => `${address} ${hostKey}\n`).join(''));
    await Promise.all(up.map((host) => host.powerOn()));
    return {
      hosts: up,
      user: USER,
      sudoer: SUDOER,
      identityFile: file('id'),
      knownHostsFile: file('known_hosts'),
      configFile: file('ssh_config'),
      host: (of) => up.find((host) => host.name === of)!,
      stop: () => takeDown(site),
    };
  } catch (error) {
    await takeDown(site).catch(() => undefined); // The first failure is the one to tell.
    throw error;
  }
}

/** Takes down every lab that no test uses. Errors: as `takeDown`, of the first that stays, once all have had their turn. */
export const takeDownAll = (): Promise<void> =>
  allOf(
    (Object.keys(NUMBERS) as LabName[]).map((name) => async () => {
      if (name === BY_HAND || !(await isInUse(name))) await takeDown(siteOf(name));
    }),
  );

/** Takes down those of these labs that nobody uses any more; what there was of them. Errors: as `takeDownAll`. */
export async function sweep(names: readonly LabName[]): Promise<readonly string[]> {
  const found: string[] = [];
  await allOf(
    names.map((name) => async () => {
      if (await isInUse(name)) return;
      const site = siteOf(name);
      found.push(...(await remains(site)));
      await takeDown(site);
    }),
  );
  return found;
}

/** A lab for people is in use until they take it down, one of a test while that runs. */
async function isInUse(name: LabName): Promise<boolean> {
  const { room } = siteOf(name);
  const starter = await readFile(join(room, STARTER), 'utf8').catch(() => '');
  return starter !== '' && (name === BY_HAND || alive(Number(starter)));
}

/** Takes a lab down, also what is left of one whose starter was killed. What stays keeps nothing else; errors: its names. */
export async function takeDown(site: Site): Promise<void> {
  const hosts = (await readdir(site.room, { withFileTypes: true }).catch(() => [])).filter((entry) =>
    entry.isDirectory(),
  );
  const ended = await Promise.allSettled(hosts.map(({ name }) => endHost(site, name)));
  for (const { name } of hosts) await execa('umount', ['-l', join(site.room, name, 'disk')], { reject: false });
  for (const namespace of await namespaces(site)) {
    // Hosts whose folder is gone.
    const { stdout: pids } = await execa('ip', ['netns', 'pids', namespace], { reject: false });
    if (pids !== '') await execa('kill', ['-KILL', ...pids.split('\n')], { reject: false });
    await execa('ip', ['netns', 'delete', namespace], { reject: false });
  }
  for (const link of [...(await cables(site)), site.bridge])
    await execa('ip', ['link', 'delete', link], { reject: false });
  // Containers that were killed with their engine leave empty groups.
  await execa(
    'sh',
    ['-c', `find /sys/fs/cgroup -depth -path '*/${site.prefix}*' -type d -exec rmdir {} + 2>/dev/null`],
    {
      reject: false,
    },
  );
  await rm(site.room, { recursive: true, force: true }).catch(() => undefined);
  const living = ended.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : []));
  const left = [...living, ...(await remains(site))];
  if (left.length > 0) throw new Error(`the lab is not all gone: ${left.join(', ')}`);
}

/** What there is of a lab, by name. */
export async function remains(site: Site): Promise<readonly string[]> {
  const groups = await execa('find', ['/sys/fs/cgroup', '-maxdepth', '2', '-name', `${site.prefix}*`], {
    reject: false,
  });
  const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
  return [
    ...(await namespaces(site)).map((name) => `network namespace ${name}`),
    ...(await cables(site)).map((name) => `link ${name}`),
    ...(existsSync(`/sys/class/net/${site.bridge}`) ? [`bridge ${site.bridge}`] : []),
    ...(existsSync(site.room) ? [`folder ${site.room}`] : []),
    ...mounts.filter((path) => path.startsWith(`${site.room}/`)).map((path) => `mount ${path}`),
    ...new Set(groups.stdout.match(/[^/\n]+$/gm)?.map((name) => `control group ${name}`)), // One in each hierarchy.
  ];
}

const namespaces = async ({ prefix }: Site): Promise<readonly string[]> =>
  (await readdir('/run/netns').catch(() => [])).filter((name) => name.startsWith(prefix));

/** A namespace that a process still holds keeps its cable too. */
const cables = async ({ network }: Site): Promise<readonly string[]> =>
  (await readdir('/sys/class/net')).filter((name) => name.startsWith(`${network}-`));
