import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** The real processes of simulated hosts: those whose HOME or PATH is `folder` or below it, or that stand there. */
export async function processesOf(folder: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const own = await Promise.all(pids.map(async (pid) => pid !== process.pid && (await belongs(pid, folder))));
  return pids.filter((_, at) => own[at]);
}

async function belongs(pid: number, folder: string): Promise<boolean> {
  const inside = (path: string) => path === folder || path.startsWith(`${folder}/`);
  const environ = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  const named = environ.split('\0').flatMap((line) => /^(?:HOME|PATH)=(.*)$/s.exec(line)?.[1] ?? []);
  return named.some(inside) || inside(await readlink(`/proc/${pid}/cwd`).catch(() => ''));
}

/** KILLs every such process until none is left. Errors when some remain after 5 s. */
export async function killProcesses(folder: string): Promise<void> {
  const until = Date.now() + 5000;
  for (;;) {
    const alive = (await processesOf(folder)).filter(kill);
    if (alive.length === 0) return;
    if (Date.now() > until) throw new Error(`processes of ${folder} cannot be ended: ${alive.join(' ')}`);
    await sleep(10);
  }
}

/** True when there was somebody to kill. */
function kill(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

/** Removes what killed runners of commands left in /tmp: a real host's memory file system is empty after a boot. */
export async function removeRunFolders(pids: ReadonlySet<number>): Promise<void> {
  for (const name of (await readdir('/tmp')).filter((each) => /^tandem-[0-9a-f]{16}$/.test(each))) {
    const folder = `/tmp/${name}`;
    const files = (await readdir(folder).catch(() => [])).filter((each) => each.startsWith('p.'));
    const groups = await Promise.all(files.map((file) => readFile(`${folder}/${file}`, 'utf8').catch(() => '')));
    if (groups.some((text) => pids.has(Number(text.split(' ')[0])))) await rm(folder, { recursive: true, force: true });
  }
}

/** Listening TCP sockets on these addresses, as "127.0.0.1:22". Source: /proc/net/tcp, proc(5). */
export async function listeningOn(addresses: ReadonlySet<string>): Promise<{ address: string; port: number }[]> {
  const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').slice(1);
  return rows
    .flatMap((row) => {
      const [, local, , state] = row.trim().split(/\s+/);
      if (state !== '0A' || !local) return [];
      const [hexAddress = '', hexPort = ''] = local.split(':');
      // The kernel prints the address in the byte order of the machine: little-endian on all that run this.
      const address = Buffer.from(hexAddress, 'hex').reverse().join('.');
      return addresses.has(address) ? [{ address, port: parseInt(hexPort, 16) }] : [];
    })
    .toSorted((one, other) => one.port - other.port);
}
