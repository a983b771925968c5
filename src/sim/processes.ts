import { readdir, readFile, readlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** The real processes of a simulated host: those whose HOME is its home, or that stand in it. */
export async function processesOf(home: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const own = await Promise.all(pids.map(async (pid) => pid !== process.pid && (await belongs(pid, home))));
  return pids.filter((_, at) => own[at]);
}

async function belongs(pid: number, home: string): Promise<boolean> {
  const environ = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
  if (environ.split('\0').includes(`HOME=${home}`)) return true;
  const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
  return cwd === home || cwd.startsWith(`${home}/`);
}

/** KILLs every process of the host until none is left. Errors when some remain after 5 s. */
export async function killProcesses(home: string): Promise<void> {
  const until = Date.now() + 5000;
  for (;;) {
    const pids = await processesOf(home);
    const alive = pids.filter((pid) => kill(pid));
    if (alive.length === 0) return;
    if (Date.now() > until) throw new Error(`processes of ${home} cannot be ended: ${alive.join(' ')}`);
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
