import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { processesWith } from '../support/processes.ts';
import { NODE_TS } from '../support/simulation.ts';
import { remains, siteOf, startLab, takeDown, whyNoLab } from './lab.ts';

const why = await whyNoLab();
const suite = why === undefined ? describe : describe.skip;
const site = siteOf('killed');
const START = `
import { startLab } from ${JSON.stringify(fileURLToPath(new URL('lab.ts', import.meta.url)))};
await startLab('killed', [{ name: 'h1', images: [] }, { name: 'h2', images: [] }]);
console.log('up');
setInterval(() => {}, 1000);
`;

suite(`a lab${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  afterAll(() => takeDown(site));

  it('whose test was killed is taken down by the next one, and then nothing of it is left', async () => {
    const [node, ...flags] = NODE_TS;
    const test = spawn(node, [...flags, '--no-warnings', '--input-type=module', '--eval', START], {
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(test.stdout, 'data');
    await expect(startLab('killed', [])).rejects.toThrow('lab killed is there: network namespace tandem-lab-killed-h');
    test.kill('SIGKILL');
    await once(test, 'exit');
    const lab = await startLab('killed', [{ name: 'h1', images: [] }]);
    expect(await lab.host('h1').run(['hostname'])).toEqual({ stdout: 'h1', stderr: '', exitCode: 0 });
    // As somebody does who clears up by hand: the host is found by its network alone.
    await execa('umount', ['-l', join(site.room, 'h1', 'disk')]);
    await rm(site.room, { recursive: true });
    expect(await remains(site)).toEqual([
      'network namespace tandem-lab-killed-h1',
      'link 10.81-0',
      'bridge tandem-killed',
    ]);
    await lab.stop();
    expect(await remains(site)).toEqual([]);
    expect(processesWith(site.room)).toEqual([]);
  }, 60_000);
});
