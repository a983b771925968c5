import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, it } from '@jest/globals';

const ROOT = join(import.meta.dirname, '..');

/** What lint says of a file of the product with this line, by the rules of the tree. */
async function lint(room: string, line: string): Promise<readonly string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tandem-lint-'));
  try {
    const settings = JSON.parse(await readFile(join(ROOT, '.oxlintrc.json'), 'utf8')) as { jsPlugins: string[] };
    const jsPlugins = settings.jsPlugins.map((plugin) =>
      plugin.startsWith('.') ? join(ROOT, plugin) : join(ROOT, 'node_modules', plugin, 'dist/index.js'),
    );
    await mkdir(join(folder, room));
    await writeFile(join(folder, '.oxlintrc.json'), JSON.stringify({ ...settings, jsPlugins }));
    await writeFile(join(folder, room, 'planted.ts'), `export const planted = (text: string) => ${line}.test(text);\n`);
    const oxlint = join(ROOT, 'node_modules/.bin/oxlint');
    const { stdout } = await execa(oxlint, ['--format', 'unix', room], { cwd: folder, reject: false });
    return [...stdout.matchAll(/\[Error\/(\S+)\((\S+)\)\]/g)].map(([, plugin, rule]) => `${plugin}/${rule}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

it.each<[string, string, string]>([
  ['src', '/(a+)+$/', 'regexp/no-super-linear-backtracking'],
  ['src', '/\\s+$/', 'regexp/no-super-linear-move'],
  ['src', '/^\\s*a/m', 'regexp/no-super-linear-move'],
  ['workflows', "new RegExp('(a+)+$')", 'regexp/no-super-linear-backtracking'],
  ['activities', "RegExp('\\\\s+$')", 'regexp/no-super-linear-move'],
  ['src', 'new RegExp(`^${text}$`)', 'tandem/regexp-written-out'],
])('lint refuses a pattern in %s whose time grows faster than its text: %s', async (room, line, rule) => {
  expect(await lint(room, line)).toContain(rule);
});

it('lint lets a pattern pass whose time grows with its text', async () => {
  expect(await lint('src', '/^[a-z]+\\d{1,9}$/')).toEqual([]);
});
