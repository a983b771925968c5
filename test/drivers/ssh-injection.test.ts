import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Command, Drivers, Host } from '../../src/drivers/types.ts';
import { REAL_SHELLS, STAND_INS } from '../support/login-shells.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { startTestServer, type TestServer } from '../support/ssh-server.ts';

// A program on the host says exactly what it was given: arguments, one environment variable, stdin; NUL between them.
const SAY = `for each; do printf "%s\\0" "$each"; done; printf "%s\\0" "$GIVEN"; exec cat`;

/** Texts that shells, ssh and quoting are known to stumble over, and anything else. */
const nasty = fc.oneof(
  fc.constantFrom(
    '', ' ', "'", '"', "it's", '\\', '\\\\', '\n', 'ends with newlines\n\n', '\r\n', '\t', '$(touch HIT)', '`touch HIT`',
    '${HOME}', '$HOME', '*', '?', '[a-z]', '~', '~root', '!', '!!', '#x', '-n', '--', '-rf', ';', '&', '|', '>HIT', '<(x)',
    '(', ')', '{a,b}', '%s', 'ünïcödé ✓ 𝄞', '\u0001', '\u007f', "'\\''", "'; touch HIT; '", 'TANDEM-FRAME-1', '.',
  ), // prettier-ignore
  fc.string({ unit: 'binary' }).map((text) => Buffer.from(text.replaceAll('\0', '')).toString()),
  fc
    .array(fc.constantFrom("'", '"', '\\', '$', '`', '\n', '!', ' ', '*', 'a'), { maxLength: 12 })
    .map((all) => all.join('')),
);
const given = fc.record({ argv: fc.array(nasty, { maxLength: 5 }), env: nasty, stdin: nasty });

const shells: (readonly [string, string | undefined])[] = [
  ['sh', '/bin/sh'],
  ['bash', '/bin/bash'],
  ['csh-like', 'csh-like'],
  ['fish-like', 'fish-like'],
  ...REAL_SHELLS,
];

let folder: string;
let drivers: Drivers;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-injection-'));
  for (const [name, text] of Object.entries(STAND_INS)) await writeFile(join(folder, name), text, { mode: 0o755 });
  drivers = createDrivers({ runtimeDir: join(folder, 'r') });
});
afterAll(async () => {
  await drivers.close();
  await rm(folder, { recursive: true });
});

for (const [index, [name, path]] of shells.entries()) {
  const suite = path === undefined ? describe.skip : describe;
  suite(`a host whose login shell is ${name}`, () => {
    let server: TestServer;
    let host: Host;
    beforeAll(async () => {
      const loginShell = [path!.includes('/') ? path! : join(folder, path!)];
      server = await startTestServer({ address: `127.81.1.${index + 1}`, loginShell });
      host = drivers.host(server.ref);
    });
    afterAll(() => server.close());

    it('gets arguments, environment and input literally', async () => {
      // Many cases a call: what is tried is the way there, and each case is its own process on the host.
      await fc.assert(
        fc.asyncProperty(fc.array(given, { minLength: 8, maxLength: 8 }), async (cases) => {
          const commands = cases.map(({ argv, env, stdin }): Command => {
            return { argv: ['sh', '-c', SAY, 'sh', ...argv], env: { GIVEN: env }, stdin, timeoutMs: ANSWER_MS };
          });
          const outputs = await host.runAll(commands);
          const wanted = cases.map(({ argv, env, stdin }) => [...argv, env, stdin].join('\0'));
          expect(outputs.map(({ stdout }) => stdout)).toEqual(wanted);
        }),
        { numRuns: 5 },
      );
    });

    it('gets an argument of 100 KB and an input of 3 MB whole', async () => {
      const long = `'"$(x)\n`.repeat(15_000);
      const stdin = `é'\n`.repeat(750_000);
      const argv = ['sh', '-c', SAY, 'sh', long];
      const { stdout } = await host.run({ argv, env: { GIVEN: 'x' }, stdin, timeoutMs: ANSWER_MS });
      expect(stdout === `${long}\0x\0${stdin}`).toBe(true); // A diff of megabytes helps nobody.
    });

    it('shows only the output of the command, not that of login files', async () => {
      const { stdout, stderr, exitCode } = await host.run({
        argv: ['sh', '-c', 'printf out; printf err >&2; exit 7'],
        timeoutMs: ANSWER_MS,
      });
      expect({ stdout, stderr, exitCode }).toEqual({ stdout: 'out', stderr: 'err', exitCode: 7 });
    });

    it('keeps names and quotes of written files literally', async () => {
      const path = join(server.home, `a'b "c" $(touch HIT) -n\n*`, '-file');
      await host.writeFile(path, "it's\n$(x)\n\n");
      expect(await host.must({ argv: ['cat', '--', path], timeoutMs: ANSWER_MS })).toBe("it's\n$(x)\n\n");
    });
  });
}

describe('what no program can be given is refused before anything is sent', () => {
  it.each([
    ['a NUL byte in an argument', { argv: ['echo', 'a\0b'] }],
    ['an environment variable that a shell cannot export', { argv: ['env'], env: { 'A;touch HIT': 'x' } }],
  ])('%s', async (_, command) => {
    const server = await startTestServer({ address: '127.81.1.20' });
    const host = drivers.host(server.ref);
    await expect(host.run({ ...command, timeoutMs: ANSWER_MS })).rejects.toMatchObject({ code: 'SPEC_INVALID' });
    await server.close();
  });
});
