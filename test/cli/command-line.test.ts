import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { CommanderError, type Command } from 'commander';
import { execa } from 'execa';
import { createProgram } from '../../src/cli/program.ts';
import { spoken, usageOf } from '../../src/cli/usage.ts';
import { CLI, ROOT, toNobody } from '../support/cli.ts';

/** What `tandem` says of its own command line: no server is needed. */
/** Starts of the CLI beside all that else runs. */
const STARTS_MS = 120_000;

/** No verb here may reach a Temporal server. */
const NOWHERE = { TEMPORAL_ADDRESS: '127.0.0.1:1', HOME: '/nonexistent' };
const tandem = (args: readonly string[], input = '') =>
  execa(process.execPath, [CLI, ...args], { env: NOWHERE, input, reject: false });

async function jsonOf(args: readonly string[], input?: string) {
  const { stdout, exitCode } = await tandem(args, input);
  return { exitCode, json: JSON.parse(stdout) as unknown }; // One document, else it does not parse.
}

describe('a wrong command line', () => {
  it.each([
    [['statsu', 'demo'], "unknown command 'statsu'", /^Did you mean status\?/],
    [['lease', 'lst', 'spec.yaml'], "unknown command 'lst'", /^Did you mean list\?/],
    [['deploy', 'spec.yaml', '--detatch'], "unknown option '--detatch'", /^Did you mean --detach\?/],
    [['plan'], "missing required argument 'file'", /--help/],
    [['list', 'demo'], 'too many arguments', /--help/],
    [['lease', 'break', 'spec.yaml', '--reason', 'r'], "required option '--host <name>'", /--help/],
    [['--json'], 'no verb is given', /--help/],
    [['lease', '--json'], 'no verb is given', /--help/],
  ])('%j says what is wrong and what was meant', async (words, message, remedy) => {
    const program = silent(createProgram('0'));
    const error: unknown = await program
      .parseAsync(spoken(program, words), { from: 'user' })
      .catch((one: unknown) => one);
    expect(error).toBeInstanceOf(CommanderError);
    expect(usageOf(error as CommanderError)).toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining(message),
      remedy: expect.stringMatching(remedy),
    });
  });

  it(
    'ends with exit code 2, as text like every other error, or as one JSON document where that is asked for',
    async () => {
      const message = "unknown command 'statsu'";
      const remedy = 'Did you mean status? `--help` shows what is possible.';
      const stderr = `USAGE: ${message}\n  remedy: ${remedy}`;
      expect(await tandem(['statsu', 'demo'])).toMatchObject({ exitCode: 2, stdout: '', stderr });
      expect(await jsonOf(['statsu', 'demo', '--json'])).toEqual({
        exitCode: 2,
        json: { error: { code: 'USAGE', message, remedy } },
      });
    },
    STARTS_MS,
  );
});

describe('destroy and forget', () => {
  it.each(['destroy', 'forget'])(
    '%s wants --yes where there is no terminal, before anything is contacted',
    async (verb) => {
      expect(await jsonOf([verb, 'demo', '--json'])).toEqual({
        exitCode: 2,
        json: {
          error: {
            code: 'USAGE',
            message: expect.stringContaining('no terminal to ask on'),
            remedy: expect.stringContaining('give --yes'),
          },
        },
      });
      expect(await jsonOf([verb, 'demo', '--yes', '--json'])).toMatchObject({
        exitCode: 4,
        json: { error: { code: 'TEMPORAL_UNREACHABLE' } },
      });
    },
    STARTS_MS,
  );
});

describe('a spec from standard input', () => {
  it(
    'is judged as a file is, by every verb that takes one',
    async () => {
      const demo = await readFile(join(ROOT, 'specs', 'demo.yaml'), 'utf8');
      expect(await jsonOf(['validate', '-', '--json'], demo)).toEqual({ exitCode: 0, json: [] });
      expect(await tandem(['validate', '-'], 'specVersion: 1\nnmae: x\n')).toMatchObject({
        exitCode: 2,
        stdout: expect.stringContaining('stdin:2:1 unknown key "nmae", did you mean "name"?'),
      });
      expect(await jsonOf(['lease', 'list', '-', '--json'], 'name: [')).toEqual({
        exitCode: 2,
        json: {
          error: expect.objectContaining({ code: 'SPEC_INVALID', message: expect.stringMatching(/^stdin has \d/) }),
        },
      });
    },
    STARTS_MS,
  );
});

describe('a reader that has gone', () => {
  it.each([[['--help']], [['schema']], [['validate', 'specs/demo.yaml']]])(
    'ends %j without a word and with exit code 0',
    async (args) => expect(await toNobody(args, NOWHERE)).toEqual({ stderr: '', stdout: 'exit 0' }),
    STARTS_MS,
  );

  it(
    'of what is wrong leaves the exit code as it is',
    async () =>
      expect(await toNobody(['validate', '/nonexistent.yaml', '--json'], NOWHERE)).toEqual({
        stderr: '',
        stdout: 'exit 2',
      }),
    STARTS_MS,
  );

  it(
    'is not a full disk, which is told',
    async () => {
      const argv = ['-c', '"$@" > /dev/full', 'sh', process.execPath, CLI, 'schema'];
      const { exitCode, stderr } = await execa('sh', argv, { reject: false });
      expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/^the output could not be written: ENOSPC.*$/)]);
    },
    STARTS_MS,
  );
});

describe('the help', () => {
  const program = createProgram('0');
  const verbs = program.commands.flatMap((command) => (command.commands.length > 0 ? command.commands : [command]));

  it.each(verbs.map((verb) => [callOf(verb), verb] as const))(
    'of %s shows how it is used, with options that it has',
    (call, verb) => {
      const help = helpOf(verb);
      const [, examples = ''] = help.split(/^Examples?:$/m);
      const lines = [...examples.matchAll(/^ {2}tandem (.+)$/gm)].map(([, line]) => line!);
      expect(lines.length).toBeGreaterThan(0);
      expect(lines.filter((line) => !`${line} `.startsWith(`${call} `))).toEqual([]);
      const options = lines.flatMap((line) => line.match(/--[a-z-]+/g) ?? []);
      expect(options.filter((option) => !help.includes(option))).toEqual([]);
    },
  );

  it('names every exit code', () => {
    const [, codes = ''] = helpOf(program).split('Exit codes: ');
    expect(codes.match(/\b\d+(?= )/g)).toEqual(['0', '1', '2', '3', '4', '5', '6', '130']);
  });
});

/** As it is called: those of groups are two words. */
function callOf(verb: Command): string {
  return verb.parent?.parent ? `${verb.parent.name()} ${verb.name()}` : verb.name();
}

function helpOf(command: Command): string {
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text) });
  command.outputHelp();
  return help;
}

function silent(program: Command): Command {
  for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)])
    command.configureOutput({ writeErr: () => {} });
  return program;
}
