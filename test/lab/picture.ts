import type { LabHost } from './host.ts';
import type { Lab } from './lab.ts';

/** Everything on a lab host that a deployment could leave, by root's own look and not by the product's. */
export type LabPicture = Readonly<Record<Kind, readonly string[]>>;

/** By host. */
export type Pictures = Readonly<Record<string, LabPicture>>;

/** Shell commands whose lines are the rows of each kind. They run one after the other, so that none sees another. */
const LOOKS = {
  containers: 'docker ps -a --no-trunc --format "{{.Names}} {{.State}}"',
  images: 'docker images --no-trunc --format "{{.Repository}}:{{.Tag}} {{.ID}}"',
  // Where programs of users may write; what the engine keeps of its containers is seen by it.
  files: String.raw`find /home /tmp /dev/shm /root /var/tmp /srv /opt /etc /usr/local -ignore_readdir_race -xdev -not -path "/opt/tandem/*" \( -type d -printf "%p d\n" -o -printf "%p %y %s\n" \)`,
  processes: 'ps -eo user:16,args --no-headers',
  ports: 'ss -Hltn | tr -s " " | cut -d " " -f 4',
  groups: 'find /sys/fs/cgroup -ignore_readdir_race -maxdepth 3 -path "*/$GROUP/*" -type d',
} as const;
type Kind = keyof typeof LOOKS | 'kept';
const SCRIPT = Object.entries(LOOKS)
  .map(([kind, look]) => {
    const where = look.startsWith('docker ') ? '[ ! -S /run/docker.sock ] || ' : '';
    return `${where}${look} | sed 's/^/${kind} /'`;
  })
  .join('\n');

/** The host's own: its first process and what that waits by, its servers, connections to them, and this look itself. */
const OWN_PROCESS =
  /host-init\.sh|^root +sleep 1$|^\S+ +(\S*\/)?sshd|^root +(dockerd|containerd) |<defunct>|^root +(sh -c \[ ! -S |ps -eo user:16|sed s\/\^)/;
/** Folders of a user that are made once for all clusters. */
const STANDING = /^\/home\/\w+\/(\.tandem( |$)|\.tandem\/(jobs|logs) |leases |models )/;
/** Complete weights, which hosts keep as a cache as they do images, and logs of what an undo removed. */
const KEPT = /^\/home\/\w+\/(models\/(?!.*\.partial-)|\.tandem\/logs\/)/;

export async function labPicture(lab: Lab): Promise<Pictures> {
  return Object.fromEntries(
    await Promise.all(lab.hosts.map(async (host) => [host.name, await pictureOf(host)] as const)),
  );
}

async function pictureOf(host: LabHost): Promise<LabPicture> {
  const { stdout, stderr } = await host.run(['env', `GROUP=${host.group}`, 'sh', '-c', SCRIPT]);
  if (stderr !== '') throw new Error(`lab host ${host.name} shows no picture: ${stderr}`);
  const lines = stdout.split('\n').toSorted();
  const rows = (kind: keyof typeof LOOKS) =>
    lines.filter((line) => line.startsWith(`${kind} `)).map((line) => line.slice(kind.length + 1));
  const files = rows('files').filter((row) => !STANDING.test(row));
  return {
    containers: rows('containers'),
    images: rows('images'),
    files: files.filter((row) => !KEPT.test(row)),
    kept: files.filter((row) => KEPT.test(row)),
    processes: rows('processes').filter((row) => !OWN_PROCESS.test(row)),
    ports: rows('ports'),
    groups: rows('groups'),
  };
}

/**
 * In what the second picture differs from the first, as rows of host, kind and what is there now (+) or is not any more (-).
 * A cache may grow.
 */
export const leftIn = (before: Pictures, after: Pictures): readonly string[] =>
  Object.entries(after).flatMap(([host, kinds]) =>
    Object.entries(kinds).flatMap(([kind, rows]) => {
      const [was, is] = [new Set(before[host]![kind as Kind]), new Set(rows)]; // Tens of thousands of files.
      return [
        ...[...is].filter((row) => !was.has(row) && kind !== 'kept').map((row) => `${host} ${kind} + ${row}`),
        ...[...was].filter((row) => !is.has(row)).map((row) => `${host} ${kind} - ${row}`),
      ];
    }),
  );
