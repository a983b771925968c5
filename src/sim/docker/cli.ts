import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HostScenario, ImageScenario } from '../scenario.ts';
import { daemonError, DockerError, parseFlags, type CommandLine, type Flags } from './command.ts';
import { containerJson, psRow, type Container } from './container.ts';
import type { DockerEngine } from './engine.ts';
import { checkTemplate, format } from './format.ts';
import { findImage, imageJson, parseReference, type Image } from './images.ts';
import { readRun } from './run-flags.ts';

/** A call of the `docker` client on a simulated host. */
export interface DockerCall {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly signal: AbortSignal;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

export interface DockerHost {
  readonly engine: DockerEngine;
  readonly scenario: HostScenario;
  readonly catalogue: readonly ImageScenario[];
  /** A path that the client was given → where it lies on this machine. */
  readonly resolvePath: (path: string) => string;
  /** Runs a program beside a container's own; undefined when there is no such program. */
  readonly exec: (container: Container, argv: readonly string[], call: DockerCall) => Promise<number | undefined>;
}

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

interface Run {
  readonly host: DockerHost;
  readonly call: DockerCall;
  readonly flags: Flags;
  readonly args: readonly string[];
  /** Folder of the client's configuration. */
  readonly config: string | undefined;
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
    run: (it) => each(it, ({ host, flags }, container) => host.engine.kill(container, flags.value('signal') ?? 'KILL')),
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

/** The engine, or the client's words for why it cannot be reached. */
function engineOf({ host }: Run, path: string): DockerEngine {
  const { state } = host.scenario.docker;
  if (state === 'stopped') throw new DockerError(`${NO_DAEMON}\n`);
  if (state === 'denied') {
    throw new DockerError(
      `permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/${path}": dial unix /var/run/docker.sock: connect: permission denied\n`,
    );
  }
  return host.engine;
}
const NO_DAEMON = 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?';

async function run({ host, call, args, config, ...rest }: Run): Promise<number> {
  const request = readRun(args, call.env, (path) => readFileSync(host.resolvePath(path), 'utf8'));
  let engine;
  try {
    engine = engineOf({ host, call, args, config, ...rest }, 'containers/create');
  } catch (error) {
    if (!(error instanceof DockerError)) throw error;
    throw new DockerError(`docker: ${error.message}\nRun 'docker run --help' for more information\n`, 125);
  }
  const { image } = request.config;
  const missing = !findImage(engine.images, image);
  if (request.pull === 'always' || (missing && request.pull !== 'never')) {
    if (missing && !request.quiet) call.stderr(`Unable to find image '${image}' locally\n`);
    try {
      const pulled = await engine.pull(image, { auths: authsOf(host, call, config), signal: call.signal });
      if (!request.quiet) call.stderr(pullText(image, pulled));
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      throw new DockerError(`docker: ${error.message}\nRun 'docker run --help' for more information\n`, 125);
    }
  }
  const container = engine.create(request.config);
  if (request.detach) {
    await engine.start(container);
    call.stdout(`${container.id}\n`);
    return 0;
  }
  const show = ({ stream, text }: { readonly stream: 'stdout' | 'stderr'; readonly text: string }) =>
    call[stream](text);
  container.followers.add(show);
  await engine.start(container);
  const { unit } = container;
  const onGone = () => unit?.signal('SIGTERM'); // The client passes its own end on.
  call.signal.addEventListener('abort', onGone);
  const exitCode = unit ? await unit.exited : container.state.exitCode;
  call.signal.removeEventListener('abort', onGone);
  return exitCode;
}

function ps(it: Run): number {
  const { flags, call } = it;
  const filters = flags.list('filter').map((filter) => {
    const [key, value] = [filter.split('=')[0]!, filter.slice(filter.indexOf('=') + 1)];
    if (!filter.includes('='))
      throw new DockerError(
        `invalid argument "${filter}" for "-f, --filter" flag: invalid filter '${filter}'\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information\n`,
        125,
      );
    if (!['label', 'name', 'id', 'status', 'ancestor'].includes(key)) throw daemonError(`invalid filter '${key}'`);
    return { key, value };
  });
  const engine = engineOf(it, 'containers/json');
  const named = (key: string) => filters.filter((filter) => filter.key === key).map(({ value }) => value);
  const any = (values: readonly string[], is: (value: string) => boolean) => values.length === 0 || values.some(is);
  const last = flags.has('latest') ? 1 : Number(flags.value('last') ?? -1);
  const all = flags.has('all') || last > 0 || named('status').length > 0;
  const rows = [...engine.containers.values()]
    .filter(
      (container) =>
        (all || container.state.status === 'running') &&
        // Labels must all be there; of the other filters one of each kind is enough.
        named('label').every((label) => hasLabel(container.config.labels, label)) &&
        any(named('name'), (name) => matchesName(container.name, name)) &&
        any(named('id'), (id) => container.id.startsWith(id)) &&
        any(named('status'), (status) => container.state.status === status) &&
        any(named('ancestor'), (image) => container.config.image === image || container.imageId === image),
    )
    .toSorted((one, other) => other.created.localeCompare(one.created))
    .slice(0, last > 0 ? last : undefined)
    .map((container) => psRow(container, !flags.has('no-trunc')));
  if (flags.has('quiet')) call.stdout(rows.map((row) => `${row['ID']}\n`).join(''));
  else
    call.stdout(
      table(rows, flags.value('format'), {
        'CONTAINER ID': 'ID',
        IMAGE: 'Image',
        COMMAND: 'Command',
        CREATED: 'RunningFor',
        STATUS: 'Status',
        PORTS: 'Ports',
        NAMES: 'Names',
      }),
    );
  return 0;
}

function hasLabel(labels: Readonly<Record<string, string>>, asked: string): boolean {
  const equals = asked.indexOf('=');
  return equals < 0 ? asked in labels : labels[asked.slice(0, equals)] === asked.slice(equals + 1);
}

/** The filter is a regular expression on "/name" or "name". */
function matchesName(name: string, pattern: string): boolean {
  const expression = new RegExp(pattern);
  return expression.test(name) || expression.test(`/${name}`);
}

function table(
  rows: readonly Readonly<Record<string, string>>[],
  template: string | undefined,
  heads: Readonly<Record<string, string>>,
): string {
  if (template !== undefined && !template.startsWith('table'))
    return rows.map((row) => `${format(template, row)}\n`).join('');
  if (template !== undefined) throw new DockerError(`the simulated docker knows no ${template}\n`);
  const cells = [Object.keys(heads), ...rows.map((row) => Object.values(heads).map((key) => row[key] ?? ''))];
  const widths = Object.keys(heads).map((_, at) => Math.max(...cells.map((row) => row[at]!.length)) + 3);
  return cells
    .map(
      (row) =>
        `${row
          .map((cell, at) => cell.padEnd(widths[at]!))
          .join('')
          .trimEnd()}\n`,
    )
    .join('');
}

function inspect(it: Run, type: string | undefined): number {
  const { flags, call } = it;
  const engine = engineOf(
    it,
    type === 'image' ? `images/${it.flags.words[0]}/json` : `containers/${it.flags.words[0]}/json`,
  );
  const found: object[] = [];
  const errors: string[] = [];
  for (const word of flags.words) {
    const element = inspected(engine, word, type);
    if (element) found.push(element);
    else
      errors.push(
        type === 'image'
          ? `Error response from daemon: No such image: ${word}\n`
          : type === 'container'
            ? `Error response from daemon: No such container: ${word}\n`
            : `Error: No such object: ${word}\n`,
      );
  }
  const template = flags.value('format');
  if (template !== undefined) call.stdout(found.map((element) => `${format(template, element)}\n`).join(''));
  else call.stdout(`${JSON.stringify(found, null, 4)}\n`);
  call.stderr(errors.join(''));
  return errors.length > 0 ? 1 : 0;
}

function inspected(engine: DockerEngine, word: string, type: string | undefined): object | undefined {
  if (type !== 'image') {
    try {
      return containerJson(engine.find(word));
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
    }
  }
  const image = type === 'container' ? undefined : findImage(engine.images, word);
  return image && imageJson(image);
}

/** Does one thing to each named container; goes on past a failure, prints the names that went well. */
async function each(
  it: Run,
  act: (it: Run, container: Container) => Promise<void> | void,
  after = '',
): Promise<number> {
  const engine = engineOf(it, `containers/${it.flags.words[0]}`);
  const failed: string[] = [];
  for (const word of it.flags.words) {
    try {
      await act(it, engine.find(word));
      it.call.stdout(`${word}\n`);
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      it.call.stderr(error.message.replace(/^docker: /, '').replace(/\n\nRun 'docker run .*/s, '\n'));
      failed.push(word);
    }
  }
  if (failed.length > 0 && after !== '') it.call.stderr(`${after}: ${failed.join(', ')}\n`);
  return failed.length > 0 ? 1 : 0;
}

function start(it: Run): Promise<number> {
  return each(it, ({ host }, container) => host.engine.start(container), 'Error: failed to start containers');
}

function stop(it: Run): Promise<number> {
  const text = it.flags.value('timeout') ?? it.flags.value('time');
  if (text !== undefined && !/^-?\d+$/.test(text)) {
    throw new DockerError(
      `invalid argument "${text}" for "-t, --timeout" flag: strconv.ParseInt: parsing "${text}": invalid syntax\n\nUsage:  docker stop [OPTIONS] CONTAINER [CONTAINER...]\n\nRun 'docker stop --help' for more information\n`,
      125,
    );
  }
  return each(it, ({ host, flags }, container) =>
    host.engine.stop(container, text === undefined ? undefined : Number(text), flags.value('signal')),
  );
}

async function remove(it: Run): Promise<number> {
  const force = it.flags.has('force');
  // Since Docker 20.10, rm --force of what is not there is no failure.
  const engine = engineOf(it, `containers/${it.flags.words[0]}`);
  const there = (word: string) => inspected(engine, word, 'container') !== undefined;
  const gone = force ? it.flags.words.filter((word) => !there(word)) : [];
  for (const word of gone) it.call.stderr(`Error response from daemon: No such container: ${word}\n`);
  const flags = { ...it.flags, words: it.flags.words.filter((word) => !gone.includes(word)) };
  return each({ ...it, flags }, ({ host }, container) => host.engine.remove(container, force));
}

async function wait(it: Run): Promise<number> {
  const engine = engineOf(it, 'containers/wait');
  for (const word of it.flags.words) {
    const container = engine.find(word);
    const code = container.unit ? await container.unit.exited : container.state.exitCode;
    it.call.stdout(`${code}\n`);
  }
  return 0;
}

async function logs(it: Run): Promise<number> {
  const { flags, call } = it;
  const container = engineOf(it, 'containers/logs').find(flags.words[0]!);
  const tail = flags.value('tail') ?? 'all';
  if (tail !== 'all' && !/^-?\d+$/.test(tail)) throw daemonError(`invalid value for tail: ${tail}`);
  const print = ({ time, stream, text }: Container['log'][number]) =>
    call[stream](flags.has('timestamps') ? `${time} ${text}` : text);
  const lines = container.log;
  const shown = tail === 'all' || Number(tail) < 0 ? lines : Number(tail) === 0 ? [] : lines.slice(-Number(tail));
  const since = flags.value('since');
  shown.filter(({ time }) => since === undefined || time >= since).forEach(print);
  if (!flags.has('follow') || !container.unit) return 0;
  container.followers.add(print);
  await Promise.race([container.unit.exited, new Promise((resolve) => call.signal.addEventListener('abort', resolve))]);
  container.followers.delete(print);
  return 0;
}

async function exec(it: Run): Promise<number> {
  const { host, call, flags } = it;
  const container = engineOf(it, 'containers/exec').find(flags.words[0]!);
  if (!container.unit) throw daemonError(`container ${container.id} is not running`);
  const argv = flags.words.slice(1);
  const code = await host.exec(container, argv, call);
  if (code !== undefined) return code;
  throw new DockerError(
    `OCI runtime exec failed: exec failed: unable to start container process: exec: "${argv[0]}": executable file not found in $PATH: unknown\n`,
    127,
  );
}

function images(it: Run): number {
  const { flags, call } = it;
  const word = flags.words[0];
  const asked = word === undefined ? undefined : parseReference(word);
  const full = flags.has('no-trunc');
  const rows = engineOf(it, 'images/json').images.flatMap((image) =>
    names(image)
      .filter(
        ([repository, tag]) => !asked || (repository === asked.familiar && (!word!.includes(':') || tag === asked.tag)),
      )
      .map(([repository, tag]): Readonly<Record<string, string>> => ({
        Containers: 'N/A',
        CreatedAt: '2026-04-27 08:00:00 +0000 UTC',
        CreatedSince: '6 months ago',
        Digest: image.digests[0]?.split('@')[1] ?? '<none>',
        ID: full ? image.id : image.id.slice(7, 19),
        Repository: repository,
        SharedSize: 'N/A',
        Size: `${(image.sizeBytes / 1e9).toFixed(1)}GB`,
        Tag: tag,
        UniqueSize: 'N/A',
        VirtualSize: `${(image.sizeBytes / 1e9).toFixed(1)}GB`,
      })),
  );
  if (flags.has('quiet')) call.stdout([...new Set(rows.map((row) => `${row['ID']}\n`))].join(''));
  else
    call.stdout(
      table(rows, flags.value('format'), {
        REPOSITORY: 'Repository',
        TAG: 'Tag',
        ...(flags.has('digests') ? { DIGEST: 'Digest' } : {}),
        'IMAGE ID': 'ID',
        CREATED: 'CreatedSince',
        SIZE: 'Size',
      }),
    );
  return 0;
}

function names(image: Image): [repository: string, tag: string][] {
  if (image.tags.length === 0) return [[image.digests[0]?.split('@')[0] ?? '<none>', '<none>']];
  return image.tags.map((name) => [name.slice(0, name.lastIndexOf(':')), name.slice(name.lastIndexOf(':') + 1)]);
}

async function pull(it: Run): Promise<number> {
  const { host, call, flags, config } = it;
  const text = flags.words[0]!;
  const pulled = await engineOf(it, 'images/create').pull(text, {
    auths: authsOf(host, call, config),
    signal: call.signal,
  });
  const asked = parseReference(text)!;
  const canonical = `${asked.registry === 'docker.io' ? `docker.io/${asked.familiar.includes('/') ? '' : 'library/'}` : ''}${asked.familiar}${asked.digest === undefined ? `:${asked.tag}` : `@${asked.digest}`}`;
  if (flags.has('quiet')) call.stdout(`${canonical}\n`);
  else
    call.stdout(
      `${/[:@]/.test(text.split('/').at(-1)!) ? '' : 'Using default tag: latest\n'}${pullText(text, pulled)}${canonical}\n`,
    );
  return 0;
}

function pullText(text: string, { fresh, digest }: { readonly fresh: boolean; readonly digest: string }): string {
  const asked = parseReference(text)!;
  const name = `${asked.familiar}${asked.digest === undefined ? `:${asked.tag}` : `@${asked.digest}`}`;
  return `${asked.digest ?? asked.tag}: Pulling from ${asked.familiar}\nDigest: ${digest}\nStatus: ${fresh ? 'Downloaded newer image for' : 'Image is up to date for'} ${name}\n`;
}

const HUB = 'https://index.docker.io/v1/';

function configFile(host: DockerHost, { env }: DockerCall, config: string | undefined): string {
  return host.resolvePath(join(config ?? env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? '/', '.docker'), 'config.json'));
}

function readAuths(file: string): Record<string, { auth: string }> {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { auths?: Record<string, { auth: string }> }).auths ?? {};
  } catch {
    return {};
  }
}

function authsOf(host: DockerHost, call: DockerCall, config: string | undefined) {
  const rows = Object.entries(readAuths(configFile(host, call, config))).map(([registry, { auth }]) => {
    const [user = '', ...password] = Buffer.from(auth, 'base64').toString().split(':');
    return [registry === HUB ? 'docker.io' : registry, { user, password: password.join(':') }] as const;
  });
  return Object.fromEntries(rows);
}

function login(it: Run): number {
  const { host, call, flags, config } = it;
  const user = flags.value('username');
  if (flags.has('password-stdin') && user === undefined)
    throw new DockerError('the --password-stdin option requires --username to be set\n');
  if (flags.has('password-stdin') && flags.value('password') !== undefined)
    throw new DockerError('conflicting options: cannot specify both --password and --password-stdin\n');
  const password = flags.has('password-stdin') ? call.stdin.replace(/\r?\n$/, '') : flags.value('password');
  if (user === undefined || !password)
    throw new DockerError('Error: Cannot perform an interactive login from a non TTY device\n');
  engineOf(it, 'auth');
  if (flags.value('password') !== undefined)
    call.stderr('WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n');
  const registry = flags.words[0] ?? 'docker.io';
  const accounts = host.catalogue.filter(
    ({ reference, login: account }) => account && parseReference(reference)?.registry === registry,
  );
  if (!accounts.some(({ login: account }) => account!.user === user && account!.password === password)) {
    const url = registry === 'docker.io' ? 'https://registry-1.docker.io/v2/' : `https://${registry}/v2/`;
    throw daemonError(`Get "${url}": unauthorized: incorrect username or password`);
  }
  const file = configFile(host, call, config);
  mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
  const auths = {
    ...readAuths(file),
    [registry === 'docker.io' ? HUB : registry]: { auth: Buffer.from(`${user}:${password}`).toString('base64') },
  };
  writeFileSync(file, JSON.stringify({ auths }), { mode: 0o600 });
  call.stdout('Login Succeeded\n');
  return 0;
}

function logout({ host, call, flags, config }: Run): number {
  const registry = flags.words[0] ?? HUB;
  const file = configFile(host, call, config);
  const { [registry]: held, ...others } = readAuths(file);
  if (held) writeFileSync(file, JSON.stringify({ auths: others }), { mode: 0o600 });
  call.stdout(held ? `Removing login credentials for ${registry}\n` : `Not logged in to ${registry}\n`);
  return 0;
}

function version(it: Run): number {
  const { host, call, flags } = it;
  const { version: number } = host.scenario.docker;
  const client = {
    Version: '28.2.2',
    ApiVersion: '1.50',
    DefaultAPIVersion: '1.50',
    GitCommit: 'e6534b4',
    GoVersion: 'go1.24.3',
    Os: 'linux',
    Arch: 'amd64',
    BuildTime: 'Fri May 30 12:07:14 2025',
    Context: 'default',
  };
  const server = {
    Platform: { Name: 'Docker Engine - Community' },
    Components: [
      {
        Name: 'Engine',
        Version: number,
        Details: {
          ApiVersion: '1.50',
          Arch: 'amd64',
          GitCommit: '45873be',
          GoVersion: 'go1.24.3',
          KernelVersion: host.scenario.kernel,
          MinAPIVersion: '1.24',
          Os: 'linux',
        },
      },
      { Name: 'containerd', Version: '1.7.27', Details: { GitCommit: '05044ec' } },
      { Name: 'runc', Version: '1.2.5', Details: { GitCommit: 'v1.2.5-0-g59923ef' } },
    ],
    Version: number,
    ApiVersion: '1.50',
    MinAPIVersion: '1.24',
    GitCommit: '45873be',
    GoVersion: 'go1.24.3',
    Os: 'linux',
    Arch: 'amd64',
    KernelVersion: host.scenario.kernel,
  };
  const unreachable = reason(it, 'version');
  const shown = { Client: client, Server: unreachable === undefined ? server : null };
  const template = flags.value('format');
  if (template !== undefined) call.stdout(`${format(template, shown)}\n`);
  else call.stdout(versionText(client, unreachable === undefined ? server : undefined));
  if (unreachable !== undefined) call.stderr(unreachable);
  return unreachable === undefined ? 0 : 1;
}

function versionText(
  client: { Version: string; ApiVersion: string },
  server: { Version: string; ApiVersion: string } | undefined,
): string {
  const row = (indent: string, name: string, value: string) =>
    `${indent}${`${name}:`.padEnd(19 - indent.length)}${value}\n`;
  const text = `Client:\n${row(' ', 'Version', client.Version)}${row(' ', 'API version', client.ApiVersion)}`;
  if (!server) return text;
  return `${text}\nServer: Docker Engine - Community\n Engine:\n${row('  ', 'Version', server.Version)}${row('  ', 'API version', `${server.ApiVersion} (minimum version 1.24)`)}`;
}

/** Why the engine cannot be reached; undefined when it can. */
function reason(it: Run, path: string): string | undefined {
  try {
    engineOf(it, path);
    return undefined;
  } catch (error) {
    if (error instanceof DockerError) return error.message;
    throw error;
  }
}

function info(it: Run): number {
  const { host, call, flags } = it;
  const unreachable = reason(it, 'info');
  const { engine, scenario } = host;
  const states = [...engine.containers.values()].map(({ state }) => state.status);
  const running = states.filter((status) => status === 'running').length;
  const shown = {
    ...(unreachable === undefined
      ? {
          ID: 'f3a1c0de-0000-4000-8000-000000000000',
          Containers: states.length,
          ContainersRunning: running,
          ContainersPaused: 0,
          ContainersStopped: states.length - running,
          Images: engine.images.length,
          Driver: 'overlay2',
          CgroupDriver: 'systemd',
          CgroupVersion: '2',
          KernelVersion: scenario.kernel,
          OperatingSystem: scenario.os,
          OSType: 'linux',
          Architecture: 'x86_64',
          NCPU: scenario.cores,
          MemTotal: scenario.memoryGiB * 2 ** 30,
          DockerRootDir: '/var/lib/docker',
          Name: scenario.name,
          ServerVersion: scenario.docker.version,
          Runtimes: { runc: { path: 'runc' } },
          DefaultRuntime: 'runc',
          SecurityOptions: ['name=apparmor', 'name=seccomp,profile=builtin', 'name=cgroupns'],
          Warnings: null,
        }
      : { ServerErrors: [unreachable.trim()] }),
    ClientInfo: { Debug: false, Version: '28.2.2', Context: 'default', Plugins: [], Warnings: null },
  };
  const template = flags.value('format');
  if (template !== undefined) {
    call.stdout(`${format(template, shown)}\n`);
    return unreachable === undefined ? 0 : 1;
  }
  call.stdout(`Client:\n Version:    28.2.2\n Context:    default\n Debug Mode: false\n\nServer:\n`);
  if (unreachable !== undefined) {
    call.stderr(unreachable);
    return 1;
  }
  call.stdout(
    ` Containers: ${states.length}\n  Running: ${running}\n  Stopped: ${states.length - running}\n Images: ${engine.images.length}\n Server Version: ${scenario.docker.version}\n Storage Driver: overlay2\n Kernel Version: ${scenario.kernel}\n Operating System: ${scenario.os}\n Name: ${scenario.name}\n`,
  );
  return 0;
}
