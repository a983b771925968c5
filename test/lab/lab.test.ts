import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { createServer, type AddressInfo, type Socket } from 'node:net';
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
const BYTES = 2_000_000;
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
  });

  it('that cannot be taken down whole says what stays, and nothing else does', async () => {
    await startLab('killed', [{ name: 'h1', images: [] }]);
    const held = join(site.room, 'held');
    await mkdir(held);
    await execa('mount', ['-t', 'tmpfs', 'held', held]);
    await expect(takeDown(site)).rejects.toThrow(`the lab is not all gone: folder ${site.room}, mount ${held}`);
    expect(await remains(site)).toEqual([`folder ${site.room}`, `mount ${held}`]);
    await execa('umount', [held]);
    await takeDown(site);
  });

  it('has links that carry no more than they are made for, in both directions', async () => {
    const lab = await startLab('killed', [{ name: 'h1', images: [], megabitsPerSecond: 20 }]);
    const seconds = async (serve: (socket: Socket) => void, command: string) => {
      const server = createServer((socket) => serve(socket.on('error', () => {})));
      await once(server.listen(0, `${site.network}.0.1`), 'listening');
      const line = `exec 3<>/dev/tcp/${site.network}.0.1/${(server.address() as AddressInfo).port}; ${command}`;
      const start = performance.now();
      expect(await lab.host('h1').run(['bash', '-c', line])).toMatchObject({ exitCode: 0, stdout: String(BYTES) });
      server.close();
      return (performance.now() - start) / 1_000;
    };
    const down = () => seconds((socket) => socket.end(Buffer.alloc(BYTES)), 'wc -c <&3');
    const counted = (socket: Socket) => {
      let count = 0;
      socket.on('data', ({ length }) => (count += length) === BYTES && socket.end(`${count}\n`));
    };
    const up = () => seconds(counted, `head -c ${BYTES} /dev/zero >&3; cat <&3`);
    const least = (BYTES * 8 * 0.9) / 20e6;
    expect(await down()).toBeGreaterThan(least);
    expect(await up()).toBeGreaterThan(least);
    await lab.stop();
  });
});
