import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { chmod, chown, mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { hostname, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { defaultRuntimeDir, openRuntimeDir } from '../../src/drivers/ssh/runtime-dir.ts';

const { uid, username } = userInfo();
const WANTED = `a folder of user ${uid} (${username}) with mode 0700 is wanted`;
let folder: string;
const before = process.env['TANDEM_RUNTIME_DIR'];
beforeEach(async () => {
  delete process.env['TANDEM_RUNTIME_DIR'];
  folder = await mkdtemp(join(tmpdir(), 'tandem-r-'));
});
afterEach(async () => {
  if (before === undefined) delete process.env['TANDEM_RUNTIME_DIR'];
  else process.env['TANDEM_RUNTIME_DIR'] = before;
  await rm(folder, { recursive: true, force: true });
});

/** What an operator is told; every refusal names the variable that gets around it. */
const refusal = async (root: string) => {
  const error = await openRuntimeDir(root).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'USAGE', remedy: expect.stringContaining('Set TANDEM_RUNTIME_DIR') as unknown });
  return (error as Error).message.replace(
    `The folder for SSH control sockets ${root} on the Temporal worker ${hostname()} `,
    '',
  );
};

describe('the folder of control sockets', () => {
  it('is where TANDEM_RUNTIME_DIR says, else short and of this user', () => {
    expect(defaultRuntimeDir()).toBe(`/tmp/tandem-${uid}`);
    process.env['TANDEM_RUNTIME_DIR'] = join(folder, 'mine');
    expect(defaultRuntimeDir()).toBe(join(folder, 'mine'));
  });

  it('is made for its user alone, with one of its own for each process', async () => {
    const own = await openRuntimeDir(join(folder, 'r'));
    expect((await stat(join(folder, 'r'))).mode & 0o777).toBe(0o700);
    expect(await readdir(join(folder, 'r'))).toEqual([own.split('/').at(-1)]);
  });

  it('is refused where others may use it, told by owner and mode', async () => {
    await mkdir(join(folder, 'r'));
    await chmod(join(folder, 'r'), 0o755);
    expect(await refusal(join(folder, 'r'))).toBe(`belongs to user ${uid} with mode 0755, ${WANTED}`);
  });

  it('is refused where it is a link that somebody may turn', async () => {
    await mkdir(join(folder, 'to'), { mode: 0o700 });
    await symlink(join(folder, 'to'), join(folder, 'r'));
    expect(await refusal(join(folder, 'r'))).toBe(`is a symbolic link of user ${uid}, ${WANTED}`);
  });

  it('is refused where it is a file', async () => {
    await writeFile(join(folder, 'r'), '');
    expect(await refusal(join(folder, 'r'))).toBe(`is no folder of user ${uid}, ${WANTED}`);
  });

  it('is refused where it cannot be made', async () => {
    await writeFile(join(folder, 'file'), '');
    expect(await refusal(join(folder, 'file', 'r'))).toBe('cannot be made: ENOTDIR');
    expect(await refusal('run/r')).toBe('is no absolute path');
  });

  it('is refused where a socket in it would have too long a name, and taken with a byte less', async () => {
    const limit = Number(/at most (\d+) leave/.exec(await refusal(`/${'x'.repeat(99)}`))?.[1]);
    const fits = `${folder}/${'r'.repeat(limit - folder.length - 1)}`;
    expect(await refusal(`${fits}r`)).toBe(
      `has a path of ${limit + 1} bytes, at most ${limit} leave room for a socket`,
    );
    const own = await openRuntimeDir(fits);
    expect(`${own}/0123456789ab-99999.f`.length + 17).toBeLessThanOrEqual(107);
  });

  // Only root may give a folder to somebody else.
  (uid === 0 ? it : it.skip)('is refused where another user squats on it, told by name of both', async () => {
    await mkdir(join(folder, 'r'), { mode: 0o700 });
    await chown(join(folder, 'r'), 4711, 4711);
    expect(await refusal(join(folder, 'r'))).toBe(`belongs to user 4711 with mode 0700, ${WANTED}`);
  });
});
