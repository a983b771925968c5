import { readFileSync, readdirSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { FACTS } from '../../src/facts/index.ts';

/** A folder per fact, a file per case: what the tool printed, and what is read out of it or why nothing is. */
interface Case {
  readonly output: {
    readonly stdout?: readonly string[];
    readonly stderr?: readonly string[];
    readonly exitCode?: number;
  };
  /** Infinity is written as "Infinity". */
  readonly fact?: unknown;
  /** The whole message of the SyntaxError. */
  readonly error?: string;
}

const HERE = new URL('.', import.meta.url);
const folders = readdirSync(HERE, { withFileTypes: true }).filter((entry) => entry.isDirectory());

const cases = folders.flatMap(({ name }) =>
  readdirSync(new URL(`${name}/`, HERE)).map((file) => ({ fact: name, title: file.replace(/\.json$/, ''), file })),
);

describe('what a tool prints is read as the case says', () => {
  it.each(cases)('$fact: $title', ({ fact: name, file }) => {
    const { output, fact, error } = JSON.parse(readFileSync(new URL(`${name}/${file}`, HERE), 'utf8')) as Case;
    const parse = FACTS.find((candidate) => candidate.name === name)!.parse;
    const text = (lines: readonly string[] = []) => lines.map((line) => `${line}\n`).join('');
    const read = () =>
      parse({
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        exitCode: output.exitCode ?? 0,
        timedOut: false,
      });
    if (error !== undefined) {
      expect(read).toThrow(new SyntaxError(error));
      return;
    }
    const value = read();
    expect(value === Infinity ? 'Infinity' : value).toEqual(fact);
  });
});

describe('every fact', () => {
  it.each(FACTS.map(({ name }) => name))('%s has cases of its own, one of them without an answer', (name) => {
    const own = cases.filter((candidate) => candidate.fact === name);
    const failing = own.filter(({ file }) =>
      readFileSync(new URL(`${name}/${file}`, HERE), 'utf8').includes('"error"'),
    );
    expect({ cases: own.length > failing.length, failing: failing.length > 0 }).toEqual({ cases: true, failing: true });
  });

  it.each(FACTS)('$name reads nothing out of silence and nothing out of another text', ({ name, parse }) => {
    const quiet = ['listening-ports', 'provider-libraries']; // There an empty answer means that there are none.
    const silent = () => parse({ stdout: '', stderr: '', exitCode: 0, timedOut: false });
    const other = () => parse({ stdout: 'Segmentation fault\n', stderr: '', exitCode: 139, timedOut: false });
    if (!quiet.includes(name)) expect(silent).toThrow(SyntaxError);
    expect(other).toThrow(SyntaxError);
  });

  it.each(FACTS)('$name says so when its tool is not installed', ({ parse }) => {
    const missing = { stdout: '', stderr: 'sh: 1: exec: tool: not found\n', exitCode: 127, timedOut: false };
    expect(() => parse(missing)).toThrow(/not on the host's PATH$/);
  });
});
