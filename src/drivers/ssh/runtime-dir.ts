import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, rm } from 'node:fs/promises';
import { hostname, userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { execa } from 'execa';
import { DeployError } from '../../errors.ts';

/** A socket's name is this long, and ssh makes it under a temporary name with 17 characters more; the kernel takes 107. */
const SOCKET_LENGTH = 24;
const SOCKET_LIMIT = 107 - 17;
const VARIABLE = 'TANDEM_RUNTIME_DIR';

/** Where sockets go: TANDEM_RUNTIME_DIR, else a folder under /tmp, which is short, since a socket's path is. */
export const defaultRuntimeDir = (): string => process.env[VARIABLE] || `/tmp/tandem-${userInfo().uid}`;

/**
 * Makes this process's own folder for control sockets, and clears away what processes that are gone have left,
 * their masters included. Errors: USAGE for a folder that is somebody else's, has a long path or cannot be made.
 */
export async function openRuntimeDir(root: string): Promise<string> {
  const name = `${process.pid}-${randomBytes(3).toString('hex')}`;
  const [bytes, limit] = [Buffer.byteLength(root), SOCKET_LIMIT - SOCKET_LENGTH - '/'.length - name.length];
  if (!isAbsolute(root)) throw refused(root, 'is no absolute path');
  if (bytes > limit) throw refused(root, `has a path of ${bytes} bytes, at most ${limit} leave room for a socket`);
  await mkdir(root, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw refused(root, `cannot be made: ${error.code}`);
  });
  const { uid, username } = userInfo();
  const state = await lstat(root);
  const wanted = `a folder of user ${uid} (${username}) with mode 0700 is wanted`;
  if (!state.isDirectory())
    throw refused(
      root,
      `is ${state.isSymbolicLink() ? 'a symbolic link' : 'no folder'} of user ${state.uid}, ${wanted}`,
    );
  const mode = state.mode & 0o777;
  if (state.uid !== uid || (mode & 0o077) !== 0)
    throw refused(root, `belongs to user ${state.uid} with mode 0${mode.toString(8)}, ${wanted}`);
  const own = join(root, name);
  await mkdir(own, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    throw refused(root, `takes no folder: ${error.code}`);
  });
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
    message: `The folder for SSH control sockets ${root} on the Temporal worker ${hostname()} ${why}`,
    remedy: `Set ${VARIABLE} in the environment of the Temporal worker to a folder of its own with a short path, as /run/user/${userInfo().uid}/tandem, and start it again; or have ${root} removed by its owner.`,
    retryable: false,
  });
