import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { createHostActivities } from '../../activities/hosts.ts';
import { localDrivers, localHost, type LocalHost } from '../support/local-host.ts';

let host: LocalHost;
beforeAll(async () => {
  host = await localHost('h0', '127.84.6.1');
});
afterAll(() => host.close());

it('folders that a removal left half-way are deleted, and no others by their names alone', async () => {
  const stateDir = join(host.home, '.tandem');
  const folders = [
    'deployments/a-1',
    'deployments/a-2',
    'jobs/.tandem-a-prefill-0-1.gone.17',
    'jobs/tandem-a-router-0-2',
  ];
  for (const folder of folders) await mkdir(join(stateDir, folder, 'in'), { recursive: true });
  const activities = createHostActivities(localDrivers([host]));
  const remove = (...some: readonly string[]) => activities.removeFolders({ ref: host.ref, folders: some });

  await remove('deployments/a-1', 'jobs/.tandem-a-prefill-0-1.gone.17');
  expect(await readdir(join(stateDir, 'deployments'))).toEqual(['a-2']);
  expect(await readdir(join(stateDir, 'jobs'))).toEqual(['tandem-a-router-0-2']);
  for (const other of ['jobs/tandem-a-router-0-2', 'deployments', 'deployments/../jobs', 'jobs/.'])
    await expect(remove('deployments/a-2', other)).rejects.toThrow('no folder that a removal leaves');
  expect(await readdir(join(stateDir, 'deployments'))).toEqual(['a-2']);
});
