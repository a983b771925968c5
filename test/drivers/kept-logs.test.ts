import { mkdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from '@jest/globals';
import { localHost, type LocalHost } from '../support/local-host.ts';

/** Logs that outlive their units: real commands in a folder that is a host's home. */
let host: LocalHost;
beforeEach(async () => {
  host = await localHost('h', '127.84.3.1');
});
afterEach(() => host.close());

const unit = (deployment: number, name = 'tandem-c-decode-0', cluster = 'c') => ({
  cluster,
  deployment,
  name: `${name}-${deployment}`,
});
const logs = (...parts: readonly string[]) => join(host.home, '.tandem', 'logs', ...parts);
/** Keeps one that is so many minutes old. */
async function keepOld(minutes: number, ...[log, text]: Parameters<LocalHost['keptLogs']['keep']>) {
  const path = await host.keptLogs.keep(log, text);
  const then = new Date(Date.now() - minutes * 60_000);
  await utimes(path, then, then);
  return path;
}
const listed = async (cluster = 'c') => (await host.keptLogs.list(cluster)).map(({ deployment }) => deployment);
const byNumber = (a: number, b: number) => a - b;

it('keeps a log whole under its deployment, for its owner alone, and tells its end', async () => {
  const text = Array.from({ length: 9_000 }, (_, line) => `line ${line}`).join('\n');
  const path = await host.keptLogs.keep(unit(3), text);
  expect(path).toBe(logs('c-3', 'tandem-c-decode-0-3.log'));
  expect(await readFile(path, 'utf8')).toBe(text);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await host.keptLogs.list('c')).toEqual([{ ...unit(3), path, bytes: text.length }]);
  expect(await host.keptLogs.read(unit(3), { tailLines: 2 })).toBe('line 8998\nline 8999');
});

it('keeps a log that is kept again once, as it is then', async () => {
  await host.keptLogs.keep(unit(3), 'before');
  await host.keptLogs.keep(unit(3), 'after');
  expect(await listed()).toEqual([3]);
  expect(await host.keptLogs.read(unit(3), { tailLines: 9 })).toBe('after');
});

it('keeps those of the last ten deployments of all clusters, each with all its units', async () => {
  for (const number of [1, 2, 3, 4, 5, 6]) await keepOld(100 - number, unit(number), 'x');
  for (const number of [1, 2, 3, 4]) await keepOld(50 - number, unit(number, 'tandem-d-router-0', 'd'), 'x');
  await keepOld(45, unit(6, 'tandem-c-prefill-0'), 'x'); // The sixth has two.
  await host.keptLogs.keep(unit(7), 'x');
  expect([(await listed('c')).toSorted(byNumber), (await listed('d')).toSorted(byNumber)]).toEqual([
    [2, 3, 4, 5, 6, 6, 7],
    [1, 2, 3, 4],
  ]);
  await expect(stat(logs('c-1'))).rejects.toMatchObject({ code: 'ENOENT' });
});

it('keeps 50 MiB of them, and the newest of those', async () => {
  const text = 'x'.repeat(12 * 1024 * 1024);
  for (const number of [1, 2, 3, 4, 5]) await keepOld(100 - number, unit(number), text);
  expect((await listed()).toSorted(byNumber)).toEqual([2, 3, 4, 5]);
});

it('keeps all of what is kept at the same moment', async () => {
  const numbers = Array.from({ length: 10 }, (_, index) => index + 1);
  await Promise.all(numbers.map((number) => host.keptLogs.keep(unit(number), `of ${number}`)));
  expect((await listed()).toSorted(byNumber)).toEqual(numbers);
});

it('deletes those of one cluster, and of no other whose name begins like it', async () => {
  await host.keptLogs.keep(unit(1), 'x');
  await host.keptLogs.keep(unit(2), 'x');
  await host.keptLogs.keep(unit(1, 'tandem-c-1-decode-0', 'c-1'), 'x');
  await host.keptLogs.drop('c');
  await host.keptLogs.drop('c');
  expect([await listed('c'), await listed('c-1')]).toEqual([[], [1]]);
});

it('lists nothing that is no log of a deployment, and deletes none of it', async () => {
  await host.keptLogs.keep(unit(1), 'x');
  await mkdir(logs('c-notes'), { recursive: true });
  await writeFile(logs('c-notes', 'a.log'), 'of a colleague');
  await writeFile(logs('c-1', '..odd name.log'), 'of a colleague');
  expect(await listed()).toEqual([1]);
  await host.keptLogs.drop('c');
  expect(await readFile(logs('c-notes', 'a.log'), 'utf8')).toBe('of a colleague');
});

it.each(['../x', 'a/b', '-rf', 'a\nb', ''])('takes no name that leaves its folder: %j', async (name) => {
  await expect(host.keptLogs.keep({ ...unit(1), name }, 'x')).rejects.toThrow(TypeError);
  await expect(host.keptLogs.keep({ ...unit(1), cluster: name }, 'x')).rejects.toThrow(TypeError);
});

it('says where it cannot be kept, and leaves nothing half-done', async () => {
  await mkdir(logs('c-1', 'tandem-c-decode-0-1.log', 'full'), { recursive: true }); // In the log's place.
  const failure = { code: 'COMMAND_FAILED', message: 'h: logs in ~/.tandem/logs could not be kept' };
  await expect(host.keptLogs.keep(unit(1), 'x')).rejects.toMatchObject(failure);
  await rm(logs('c-1', 'tandem-c-decode-0-1.log'), { recursive: true });
  expect(await host.keptLogs.list('c')).toEqual([]);
});
