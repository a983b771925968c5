import { info, version } from './about.ts';
import { engineOf, type DockerCall, type DockerHost, type Run } from './call.ts';
import { DockerError, parseFlags, type CommandLine } from './command.ts';
import { checkTemplate } from './format.ts';
import { inspect } from './inspect.ts';
import { exec, kill, logs, remove, start, stop, wait } from './lifecycle.ts';
import { images, ps } from './listings.ts';
import { login, logout, pull } from './registry.ts';
import { run } from './run.ts';

/** Runs one command line of the client and returns its exit code. */
export async function docker(host: DockerHost, call: DockerCall): Promise<number> {
  try {
    const { config, rest } = globalFlags(call.args);
    const [first, second] = rest;
    const grouped = first !== undefined && GROUPS.includes(first);
    const name = grouped ? `${first} ${second ?? ''}`.trim() : (first ?? '');
    const entry = COMMANDS[ALIASES[name] ?? name];
    if (!entry) throw unknownCommand(first, grouped ? second : undefined);
    const flags = entry.line === undefined ? undefined : parseFlags(rest.slice(grouped ? 2 : 1), entry.line);
    const template = flags?.value('format');
    if (template !== undefined) checkTemplate(template);
    return await entry.run({ host, call, flags: flags!, args: rest.slice(grouped ? 2 : 1), config });
  } catch (error) {
    if (!(error instanceof DockerError)) throw error;
    call.stdout(error.stdout);
    call.stderr(error.message);
    return error.exitCode;
  }
}

interface Command {
  /** Left out where the command reads its own flags. */
  readonly line?: CommandLine;
  readonly run: (run: Run) => Promise<number> | number;
}

const GROUPS = ['container', 'image', 'system'];
const ALIASES: Readonly<Record<string, string>> = {
  'container run': 'run',
  'container ls': 'ps',
  'container list': 'ps',
  'container ps': 'ps',
  'container start': 'start',
  'container stop': 'stop',
  'container rm': 'rm',
  'container kill': 'kill',
  'container logs': 'logs',
  'container exec': 'exec',
  'container wait': 'wait',
  'image ls': 'images',
  'image list': 'images',
  'image pull': 'pull',
  'image tag': 'tag',
  'system info': 'info',
};

function line(
  command: string,
  usage: string,
  flags: CommandLine['flags'],
  short: CommandLine['short'],
  least: number,
  most?: number,
): CommandLine {
  return {
    command: `docker ${command}`,
    usage: `docker ${command} ${usage}`,
    flags,
    short,
    least,
    ...(most === undefined ? {} : { most }),
    interspersed: command !== 'exec',
  };
}

const COMMANDS: Readonly<Record<string, Command>> = {
  run: { run },
  ps: {
    line: line(
      'ps',
      '[OPTIONS]',
      {
        all: 'bool',
        filter: 'list',
        format: 'value',
        last: 'value',
        latest: 'bool',
        'no-trunc': 'bool',
        quiet: 'bool',
      },
      { a: 'all', f: 'filter', l: 'latest', n: 'last', q: 'quiet' },
      0,
      0,
    ),
    run: ps,
  },
  inspect: {
    line: line(
      'inspect',
      '[OPTIONS] NAME|ID [NAME|ID...]',
      { format: 'value', type: 'value', size: 'bool' },
      { f: 'format', s: 'size' },
      1,
    ),
    run: (it) => inspect(it, it.flags.value('type')),
  },
  'container inspect': {
    line: line(
      'container inspect',
      '[OPTIONS] CONTAINER [CONTAINER...]',
      { format: 'value', size: 'bool' },
      { f: 'format', s: 'size' },
      1,
    ),
    run: (it) => inspect(it, 'container'),
  },
  'image inspect': {
    line: line('image inspect', '[OPTIONS] IMAGE [IMAGE...]', { format: 'value' }, { f: 'format' }, 1),
    run: (it) => inspect(it, 'image'),
  },
  start: { line: line('start', '[OPTIONS] CONTAINER [CONTAINER...]', {}, {}, 1), run: start },
  stop: {
    line: line(
      'stop',
      '[OPTIONS] CONTAINER [CONTAINER...]',
      { signal: 'value', time: 'value', timeout: 'value' },
      { s: 'signal', t: 'timeout' },
      1,
    ),
    run: stop,
  },
  kill: {
    line: line('kill', '[OPTIONS] CONTAINER [CONTAINER...]', { signal: 'value' }, { s: 'signal' }, 1),
    run: kill,
  },
  rm: {
    line: line(
      'rm',
      '[OPTIONS] CONTAINER [CONTAINER...]',
      { force: 'bool', volumes: 'bool' },
      { f: 'force', v: 'volumes' },
      1,
    ),
    run: remove,
  },
  wait: { line: line('wait', 'CONTAINER [CONTAINER...]', {}, {}, 1), run: wait },
  logs: {
    line: line(
      'logs',
      '[OPTIONS] CONTAINER',
      { follow: 'bool', tail: 'value', timestamps: 'bool', since: 'value' },
      { f: 'follow', n: 'tail', t: 'timestamps' },
      1,
      1,
    ),
    run: logs,
  },
  exec: {
    line: line(
      'exec',
      '[OPTIONS] CONTAINER COMMAND [ARG...]',
      { env: 'list', workdir: 'value', user: 'value' },
      { e: 'env', w: 'workdir', u: 'user' },
      2,
    ),
    run: exec,
  },
  images: {
    line: line(
      'images',
      '[OPTIONS] [REPOSITORY[:TAG]]',
      { all: 'bool', digests: 'bool', format: 'value', 'no-trunc': 'bool', quiet: 'bool' },
      { a: 'all', q: 'quiet' },
      0,
      1,
    ),
    run: images,
  },
  tag: {
    line: line('tag', 'SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]', {}, {}, 2, 2),
    run: (it) => {
      engineOf(it, 'images/tag').tag(it.flags.words[0]!, it.flags.words[1]!);
      return 0;
    },
  },
  pull: {
    line: line('pull', '[OPTIONS] NAME[:TAG|@DIGEST]', { quiet: 'bool', platform: 'value' }, { q: 'quiet' }, 1, 1),
    run: pull,
  },
  login: {
    line: line(
      'login',
      '[OPTIONS] [SERVER]',
      { username: 'value', password: 'value', 'password-stdin': 'bool' },
      { u: 'username', p: 'password' },
      0,
      1,
    ),
    run: login,
  },
  logout: { line: line('logout', '[SERVER]', {}, {}, 0, 1), run: logout },
  version: { line: line('version', '[OPTIONS]', { format: 'value' }, { f: 'format' }, 0, 0), run: version },
  info: { line: line('info', '[OPTIONS]', { format: 'value' }, { f: 'format' }, 0, 0), run: info },
};

function globalFlags(args: readonly string[]): { config: string | undefined; rest: readonly string[] } {
  if (args[0] === '--config') return { config: args[1], rest: args.slice(2) };
  if (args[0]?.startsWith('--config=')) return { config: args[0].slice(9), rest: args.slice(1) };
  if (args[0]?.startsWith('-')) {
    throw new DockerError(
      `unknown flag: ${args[0].split('=')[0]}\n\nUsage:  docker [OPTIONS] COMMAND [ARG...]\n\nRun 'docker --help' for more information\n`,
      125,
    );
  }
  return { config: undefined, rest: args };
}

const unknownCommand = (first: string | undefined, second: string | undefined) =>
  new DockerError(
    `docker: unknown command: docker ${first ?? ''}${second === undefined ? '' : ` ${second}`}\n\nRun 'docker --help' for more information\n`,
  );
