// Breaks one line for each promise and wants its test to fail: `npm run test:mutations`, or with names of files of this
// folder and of promises to choose. The tree is left alone; a copy of it is broken.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FOLDER = import.meta.dirname;
const ROOT = join(FOLDER, '..', '..');
const wanted = process.argv.slice(2);
const rows = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.json'))
  .flatMap((file) => JSON.parse(readFileSync(join(FOLDER, file), 'utf8')).map((row) => ({ ...row, of: file })))
  .filter(({ of, promise }) => wanted.length === 0 || wanted.some((word) => `${of} ${promise}`.includes(word)));

const copy = mkdtempSync(join(tmpdir(), 'tandem-mutations-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
for (const file of execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean))
  cpSync(join(ROOT, file), join(copy, file));
// A folder of its own, of the same files: what a broken tree leaves in its cache is its own.
execFileSync('cp', ['-al', join(ROOT, 'node_modules'), copy]);
rmSync(join(copy, 'node_modules', '.cache'), { recursive: true, force: true });
symlinkSync(join(ROOT, '.venv'), join(copy, '.venv'));
cpSync(join(ROOT, 'dist'), join(copy, 'dist'), { recursive: true });

/** Tests that run the built programs. */
const BUILT = /^test\/(?:(?:e2e|cli|lab|package)\/|package\.test)/;
const build = () => spawnSync('npm', ['run', '--silent', 'build'], { cwd: copy, encoding: 'utf8' });
/** What a broken line keeps waiting waits to its limit, and nothing else runs on this machine: a part of it is enough. */
const PATIENCE = '0.5';
/** `cases: "every"` where the case is not among those that `npm test` chooses. */
const test = ({ test: file, name, cases }) =>
  spawnSync('sh', ['scripts/test.sh', file, ...(name ? ['-t', name] : [])], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 ** 2, // A failure may quote megabytes.
    env: { ...process.env, TANDEM_PATIENCE: PATIENCE, ...(cases ? { TANDEM_CASES: cases } : {}) },
  });
/** Tests that pass while nothing is broken, by what chooses them. */
const sound = new Map();
const isSound = (row) => {
  const key = JSON.stringify([row.test, row.name, row.cases]);
  if (!sound.has(key)) sound.set(key, test(row).status === 0);
  return sound.get(key);
};

let survived = 0;
for (const row of rows) {
  const path = join(copy, row.file);
  const whole = readFileSync(path, 'utf8');
  const parts = whole.split(row.find);
  let told = 'its line is not there once';
  if (parts.length === 2 && !isSound(row)) told = 'FAILS UNBROKEN';
  else if (parts.length === 2) {
    writeFileSync(path, parts.join(row.replace));
    const built = BUILT.test(row.test) ? build() : undefined;
    const { status, stdout } = built?.status ? built : test(row);
    const counted = / *(\d+) passed, (\d+) failed/.exec(stdout ?? '');
    const failed = Number(counted?.[2] ?? 0);
    // A tree that does not build, or a run without an end, says nothing of the promise.
    if (built?.status) told = 'IT DOES NOT BUILD';
    else if (status === 0) told = 'NOTHING FAILED';
    else told = failed > 0 ? `red: ${failed} failed` : 'NO TEST FAILED BY NAME';
    writeFileSync(path, whole);
    if (built) build();
  }
  if (!told.startsWith('red')) survived += 1;
  process.stdout.write(`${told.padEnd(28)} ${row.of.replace('.json', '')}: ${row.promise} (${row.test})\n`);
}
process.stdout.write(`${rows.length - survived} of ${rows.length} broken lines were caught\n`);
process.exitCode = survived > 0 ? 1 : 0;
