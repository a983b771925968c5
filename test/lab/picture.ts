import type { LabHost } from './host.ts';
import type { Lab } from './lab.ts';

/** Everything on a lab host that a deployment could leave, by root's own look and not by the product's. */
export type LabPicture = Readonly<Record<string, readonly string[]>>;

/** By host. */
export type Pictures = Readonly<Record<string, LabPicture>>;

/** Shell commands whose lines are the rows of each kind. */
const LOOKS = {
  containers: 'docker ps -a --no-trunc --format "{{.Names}} {{.State}}"',
  // Where programs of users may write; what the engine keeps of its containers is seen by it.
  files:
    'find /home /tmp /dev/shm /root /var/tmp /srv /opt /etc /usr/local -xdev -not -path "/opt/tandem/*" \\( -type d -printf "%p d\\n" -o -printf "%p %y %s\\n" \\)',
  // Of users, and what containers run, which is root's: the rest is the host's own, and those that look.
  processes:
    'ps -eo user:16,args --no-headers | grep -e "^ops " -e "^dev " -e sglang -e smg | grep -v -e "sshd: " -e grep -e nsenter',
  ports: 'ss -Hltn | tr -s " " | cut -d " " -f 4',
  groups: 'find /sys/fs/cgroup -maxdepth 3 -path "*/$GROUP/*" -type d',
} as const;

/** Folders of a user that are made once for all clusters, and weights, which hosts keep as a cache. */
const STANDING = /^\/home\/\w+\/(\.tandem( |$)|\.tandem\/jobs |leases |models[ /](?!.*\.partial-))/;

/** Images, which hosts keep as a cache. */
const KEPT = 'docker images --format "{{.Repository}}:{{.Tag}}"';

export async function labPicture(lab: Lab): Promise<Pictures> {
  return Object.fromEntries(
    await Promise.all(lab.hosts.map(async (host) => [host.name, await pictureOf(host)] as const)),
  );
}

async function pictureOf(host: LabHost): Promise<LabPicture> {
  const kinds = Object.entries(LOOKS).map(async ([kind, look]) => [kind, await rowsOf(host, look)] as const);
  const picture = Object.fromEntries(await Promise.all(kinds));
  return { ...picture, files: picture['files']!.filter((row) => !STANDING.test(row)) };
}

/** In what the second picture differs from the first, as rows of host, kind and what is there now (+) or is not any more (-). */
export const leftIn = (before: Pictures, after: Pictures): readonly string[] =>
  Object.entries(after).flatMap(([host, kinds]) =>
    Object.entries(kinds).flatMap(([kind, rows]) => {
      const [was, is] = [new Set(before[host]![kind]), new Set(rows)]; // Tens of thousands of files.
      return [
        ...[...is].filter((row) => !was.has(row)).map((row) => `${host} ${kind} + ${row}`),
        ...[...was].filter((row) => !is.has(row)).map((row) => `${host} ${kind} - ${row}`),
      ];
    }),
  );

export const keptImages = (host: LabHost): Promise<readonly string[]> => rowsOf(host, KEPT);

async function rowsOf(host: LabHost, look: string): Promise<readonly string[]> {
  const { stdout } = await host.run(['env', `GROUP=${host.group}`, 'sh', '-c', look]);
  return stdout
    .split('\n')
    .filter((row) => row !== '')
    .toSorted();
}
