import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defaultRuntimeDir } from '../src/drivers/ssh/runtime-dir.ts';

/** Most memory that a process has held at once, in MiB. */
export async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`process ${pid} shows no VmHWM`);
  return Number(kib) / 1024;
}

/** Control sockets of ssh masters that a process holds; masters of idle hosts live on for minutes, so all are counted. */
export async function masters(pid: number): Promise<number> {
  const folders = (await readdir(defaultRuntimeDir())).filter((name) => name.startsWith(`${pid}-`));
  const sockets = await Promise.all(folders.map((folder) => readdir(join(defaultRuntimeDir(), folder))));
  return sockets.flat().filter((name) => name.endsWith('.m')).length;
}

/** CPU that a process has used, user and system, in seconds. */
export async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

/** Linux shows times of processes in hundredths of a second on every platform that Node runs on. */
const CLOCK_TICKS = 100;
