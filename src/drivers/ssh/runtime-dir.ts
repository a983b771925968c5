import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { DeployError } from '../../errors.ts';

/** A socket's name is this long, and ssh makes it under a temporary name with 17 characters more; the kernel takes 107. */
const SOCKET_LENGTH = 24;
const SOCKET_LIMIT = 107 - 17;

/** Where sockets go when nobody says: short, since a socket's path is. */
export const defaultRuntimeDir = (): string => `/tmp/tandem-${userInfo().uid}`;

/**
 * Makes this process's own folder for control sockets, and clears away what processes that are gone have left,
 * their masters included. Errors: USAGE for a folder that is somebody else's or has a long path.
 */
export async function openRuntimeDir(root: string): Promise<string> {
  await mkdir(root, { recursive: true, mode: 0o700 });
  const { uid } = userInfo();
  const state = await lstat(root);
  if (!state.isDirectory() || state.uid !== uid || (state.mode & 0o077) !== 0) {
    throw refused(root, `is not a folder that only user ${uid} may use`);
  }
  const own = join(root, `${process.pid}-${randomBytes(3).toString('hex')}`);
  if (own.length + SOCKET_LENGTH > SOCKET_LIMIT) throw refused(root, 'has a path too long for sockets');
  await mkdir(own, { mode: 0o700 });
  await sweep(root);
  return own;
}

async function sweep(root: string): Promise<void> {
  for (const folder of await readdir(root)) {
    const pid = /^(\d+)-[0-9a-f]{6}$/.exec(folder)?.[1];
    if (pid === undefined || alive(Number(pid))) continue;
    const path = join(root, folder);
    const files = await readdir(path).catch(() => []);
    for (const file of files.filter((name) => name.endsWith('.m'))) {
      await execa('ssh', ['-F', 'none', '-S', join(path, file), '-O', 'exit', 'any'], {
        reject: false,
        timeout: 5_000,
      });
    }
    await rm(path, { recursive: true, force: true });
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

const refused = (root: string, why: string) =>
  new DeployError({
    code: 'USAGE',
    message: `The folder for SSH control sockets ${root} ${why}`,
    remedy: `Remove ${root}, or choose another folder for control sockets.`,
    retryable: false,
  });
