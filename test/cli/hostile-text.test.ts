import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { CLI } from '../support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'tandem-hostile-'));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Nothing listens there: what is refused before anything is contacted says so all the same. */
const NOWHERE = '127.84.9.9:1';
const tandem = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
  const { stdout, stderr, exitCode } = await execa(process.execPath, [CLI, ...args], {
    env: { TEMPORAL_ADDRESS: NOWHERE, ...env },
    reject: false,
    encoding: 'latin1', // Byte for byte.
  });
  return { stdout, stderr, exitCode };
};
/** Bytes that act on a terminal: C0 but line breaks and tabs, DEL, and C1 and format characters as UTF-8. */
const ACTING =
  /[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf/; // oxlint-disable-line no-control-regex
const file = (name: string, content: string | Uint8Array) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};
const SPEC = `specVersion: 1
name: tiny
model: { id: a/b, source: file:///models/b }
engine: { runtime: process, version: 0.5.23 }
hosts:
  ssh: { user: ops }
  list:
    - { name: p0, address: 10.0.0.1, gpus: { product: MI300X, count: 8 } }
    - { name: d0, address: 10.0.0.2, gpus: { product: MI300X, count: 8 } }
prefill: { replicas: 1, gpus: { product: MI300X, count: 8 } }
decode: { replicas: 1, gpus: { product: MI300X, count: 8 } }
router: { host: p0, runtime: process, port: 31000 }
`;

describe('a file that is no text', () => {
  it.each([
    ['an ELF', Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(4096)]), 1, 1, '0x7f', 0],
    ['an image', Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), 1, 1, '0x89', 0],
    ['a text with an escape sequence', Buffer.from('name: x\nsite: \u001b]0;owned\u0007\n'), 2, 7, '0x1b', 14],
    ['random bytes', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), 1, 1, '0x00', 0],
  ])(
    '%s: validate prints no byte of it, and where the first odd one is',
    async (name, bytes, line, column, byte, offset) => {
      const path = file(`${name.replaceAll(' ', '-')}.yaml`, bytes);
      const { stdout, stderr, exitCode } = await tandem(['validate', path]);
      expect(stdout).toBe(
        `${path}:${line}:${column} is not text: the first odd byte, ${byte}, is at offset ${offset} of ${bytes.length}\n    remedy: Give a cluster spec, which is YAML in UTF-8; specs/ has examples.\n1 error`,
      );
      expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 2 });
    },
  );
});

describe('what acts on a terminal', () => {
  const hostile = '\u001b[2Jx\u009b31m\u202e\u200b';

  it.each<[string, string[]]>([
    ['the name of a file that is not there', ['validate', `${hostile}.yaml`]],
    ['the name of a file, as JSON', ['validate', `${hostile}.yaml`, '--json']],
    ['a verb that is none', [hostile]],
    ['an option that is none', ['validate', `--${hostile}`]],
    ['a key of a spec', ['validate', file('key.yaml', `"a\\e[2Jx\\u009b31m\\u202e\\u200b": 1\n`)]],
    [
      'a value of a spec',
      ['validate', file('value.yaml', SPEC.replace('id: a/b', 'id: "a\\e[2Jx\\u009b31m\\u202e\\u200b"'))],
    ],
    [
      'a value of a spec, as JSON',
      ['validate', '--json', file('json.yaml', SPEC.replace('id: a/b', 'id: "a\\e[2Jx\\u009b31m\\u202e\\u200b"'))],
    ],
    ['the name of a spec that is right', ['validate', file(`right\u202e.yaml`, SPEC)]],
  ])('in %s is shown and not sent', async (_, args) => {
    const { stdout, stderr } = await tandem(args);
    expect(stdout + stderr).not.toMatch(ACTING);
    expect(stdout + stderr).toMatch(/\\u(?:001b|202e)/);
  });
});

describe('a text that Temporal’s database would not take', () => {
  const spec = file('spec.yaml', SPEC);
  const ACTOR = 'Give a shorter name in plain text by --actor or TANDEM_ACTOR.';

  it.each<[string, string[], Record<string, string>, string]>([
    [
      'an actor of 256 bytes',
      ['deploy', spec, '--actor', 'x'.repeat(256)],
      {},
      `--actor has 256 bytes, at most 255 are taken → ${ACTOR}`,
    ],
    [
      'an actor of 86 characters and 258 bytes',
      ['destroy', 'tiny', '--yes', '--actor', '模'.repeat(86)],
      {},
      `--actor has 258 bytes, at most 255 are taken → ${ACTOR}`,
    ],
    [
      'a TANDEM_ACTOR of 300 bytes',
      ['deploy', spec],
      { TANDEM_ACTOR: 'x'.repeat(300) },
      `TANDEM_ACTOR has 300 bytes, at most 255 are taken → ${ACTOR}`,
    ],
    ['an empty actor', ['cancel', 'tiny', '--actor', ''], {}, `--actor is empty, a name is wanted → ${ACTOR}`],
    [
      'an actor with an escape sequence',
      ['forget', 'tiny', '--yes', '--actor', 'a\u001b[2J'],
      {},
      `--actor holds a control character, a name in plain text is wanted → ${ACTOR}`,
    ],
    [
      'a reason of 1,025 bytes',
      ['deploy', spec, '--reason', 'x'.repeat(1_025)],
      {},
      '--reason has 1025 bytes, at most 1024 are taken → Say it shorter, or name the ticket that says it.',
    ],
    [
      'a reason of a cancel',
      ['cancel', 'tiny', '--reason', 'x'.repeat(9_000)],
      {},
      '--reason has 9000 bytes, at most 1024 are taken → Say it shorter, or name the ticket that says it.',
    ],
    [
      'a reason of an adoption',
      ['adopt', spec, '--reason', 'x'.repeat(9_000)],
      {},
      '--reason has 9000 bytes, at most 1024 are taken → Say it shorter, or name the ticket that says it.',
    ],
    [
      'a reason of broken leases',
      ['lease', 'break', spec, '--host', 'p0', '--reason', 'x'.repeat(9_000)],
      {},
      '--reason has 9000 bytes, at most 1024 are taken → Say it shorter, or name the ticket that says it.',
    ],
    [
      'a path of 1,200 bytes',
      ['deploy', `${folder}/${'./'.repeat(600)}spec.yaml`],
      {},
      ' are taken → Change into a folder nearer to it, and give its relative path.',
    ],
  ])('%s is wrong usage, told measured and wanted, before anything is contacted', async (_, args, env, told) => {
    const { stdout, exitCode } = await tandem([...args, '--json'], env);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; remedy: string } };
    expect({ code: error.code, exitCode }).toEqual({ code: 'USAGE', exitCode: 2 });
    expect(`${error.message} → ${error.remedy}`.endsWith(told)).toBe(true);
  });

  it('of 255 bytes is taken as far as the server, which is not there', async () => {
    const { stdout, exitCode } = await tandem([
      'deploy',
      spec,
      '--json',
      '--actor',
      'x'.repeat(255),
      '--reason',
      'y'.repeat(1_024),
    ]);
    expect({ code: (JSON.parse(stdout) as { error: { code: string } }).error.code, exitCode }).toEqual({
      code: 'TEMPORAL_UNREACHABLE',
      exitCode: 4,
    });
  });
});
