import { DockerError, parseFlags, type CommandLine, type Flags } from './command.ts';

/**
 * Flags of `docker run` that the simulated engine knows: each is acted on, or kept and shown by `inspect`. Every other
 * one is refused, so a command line that passes here was read to its end.
 */
export const RUN: CommandLine = {
  command: 'docker run',
  usage: 'docker run [OPTIONS] IMAGE [COMMAND] [ARG...]',
  flags: {
    detach: 'bool',
    init: 'bool',
    interactive: 'bool',
    privileged: 'bool',
    quiet: 'bool',
    'read-only': 'bool',
    rm: 'bool',
    'cap-add': 'list',
    'cap-drop': 'list',
    device: 'list',
    env: 'list',
    'env-file': 'list',
    'group-add': 'list',
    label: 'list',
    'log-opt': 'list',
    mount: 'list',
    'security-opt': 'list',
    tmpfs: 'list',
    ulimit: 'list',
    volume: 'list',
    cpus: 'value',
    entrypoint: 'value',
    hostname: 'value',
    ipc: 'value',
    'log-driver': 'value',
    memory: 'value',
    name: 'value',
    net: 'value',
    network: 'value',
    'oom-score-adj': 'value',
    pid: 'value',
    'pids-limit': 'value',
    platform: 'value',
    pull: 'value',
    restart: 'value',
    'shm-size': 'value',
    'stop-signal': 'value',
    'stop-timeout': 'value',
    user: 'value',
    uts: 'value',
    workdir: 'value',
  },
  short: {
    d: 'detach',
    e: 'env',
    h: 'hostname',
    i: 'interactive',
    l: 'label',
    m: 'memory',
    q: 'quiet',
    u: 'user',
    v: 'volume',
    w: 'workdir',
  },
  least: 1,
  interspersed: false,
};

/** A container as it was asked for; what inspect shows of its configuration. */
export interface ContainerConfig {
  readonly image: string;
  readonly command: readonly string[];
  readonly entrypoint: string | undefined;
  readonly name: string | undefined;
  readonly env: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly devices: readonly string[];
  readonly groups: readonly string[];
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  readonly securityOpt: readonly string[];
  readonly ulimits: readonly { readonly Name: string; readonly Hard: number; readonly Soft: number }[];
  readonly logDriver: string;
  readonly logOpts: Readonly<Record<string, string>>;
  readonly network: string;
  readonly ipc: string;
  readonly pidMode: string;
  readonly shmSize: number;
  readonly privileged: boolean;
  readonly readOnly: boolean;
  readonly autoRemove: boolean;
  readonly stopTimeout: number | undefined;
  readonly stopSignal: string;
  readonly user: string;
  readonly workdir: string;
  readonly memory: number;
  readonly restart: string;
}

export interface Mount {
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** -v makes a missing source folder, --mount refuses it. */
  readonly make: boolean;
}

export interface RunRequest {
  readonly config: ContainerConfig;
  readonly detach: boolean;
  readonly pull: string;
  readonly quiet: boolean;
}

/** Reads a `docker run` command line. `-e NAME` takes its value from the client's environment. Throws `DockerError`. */
export function readRun(
  args: readonly string[],
  clientEnv: Readonly<Record<string, string>>,
  readFile: (path: string) => string,
): RunRequest {
  const flags = parseFlags(args, RUN);
  const [image, ...command] = flags.words as [string, ...string[]];
  const restart = flags.value('restart') ?? 'no';
  if (!/^(no|always|unless-stopped|on-failure(:\d+)?)$/.test(restart)) {
    throw invalid(
      'restart',
      restart,
      `invalid restart policy: unknown policy '${restart}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (restart !== 'no')
    throw new DockerError(`docker: the simulated engine restarts nothing: --restart ${restart}\n`, 125);
  return {
    detach: flags.has('detach'),
    pull: flags.value('pull') ?? 'missing',
    quiet: flags.has('quiet'),
    config: {
      image,
      command,
      entrypoint: flags.value('entrypoint'),
      name: flags.value('name'),
      env: envOf(flags, clientEnv, readFile),
      labels: Object.fromEntries(flags.list('label').map((label) => split(label, '='))),
      mounts: [...flags.list('volume').map(readVolume), ...flags.list('mount').map(readMount)],
      devices: flags.list('device'),
      groups: flags.list('group-add'),
      capAdd: flags.list('cap-add'),
      capDrop: flags.list('cap-drop'),
      securityOpt: flags.list('security-opt'),
      ulimits: flags.list('ulimit').map(readUlimit),
      logDriver: flags.value('log-driver') ?? 'json-file',
      logOpts: Object.fromEntries(flags.list('log-opt').map((option) => split(option, '='))),
      network: flags.value('network') ?? flags.value('net') ?? 'bridge',
      ipc: flags.value('ipc') ?? 'private',
      pidMode: flags.value('pid') ?? '',
      shmSize: readBytes('shm-size', flags.value('shm-size') ?? '64m'),
      privileged: flags.has('privileged'),
      readOnly: flags.has('read-only'),
      autoRemove: flags.has('rm'),
      stopTimeout: readInt('stop-timeout', flags.value('stop-timeout')),
      stopSignal: flags.value('stop-signal') ?? 'SIGTERM',
      user: flags.value('user') ?? '',
      workdir: flags.value('workdir') ?? '',
      memory: readBytes('memory', flags.value('memory') ?? '0'),
      restart,
    },
  };
}

function envOf(
  flags: Flags,
  clientEnv: Readonly<Record<string, string>>,
  readFile: (path: string) => string,
): string[] {
  const lines = flags.list('env-file').flatMap((path) =>
    readFile(path)
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#')),
  );
  return [...lines, ...flags.list('env')].flatMap((entry) => {
    if (entry.includes('=')) return [entry];
    const value = clientEnv[entry];
    return value === undefined ? [] : [`${entry}=${value}`];
  });
}

function readVolume(text: string): Mount {
  const [source, target, mode, ...rest] = text.split(':');
  if (!source || !target || rest.length > 0) throw new DockerError(`docker: invalid spec: ${text}: unknown\n`, 125);
  if (!source.startsWith('/'))
    throw new DockerError(`docker: the simulated engine knows no named volumes: ${text}\n`, 125);
  if (!target.startsWith('/'))
    throw run(
      `invalid volume specification: '${text}': invalid mount config for type "bind": invalid mount path: '${target}' mount path must be absolute`,
    );
  const modes = mode?.split(',') ?? [];
  const unknown = modes.find((one) => !['ro', 'rw', 'z', 'Z', 'rslave', 'rshared', 'rprivate'].includes(one));
  if (unknown !== undefined) throw run(`invalid volume specification: '${text}': invalid mode: ${mode}`);
  return { source, target, readOnly: modes.includes('ro'), make: true };
}

function readMount(text: string): Mount {
  const fields = new Map(csvRow(text).map((field) => split(field, '=')));
  const type = fields.get('type') ?? 'volume';
  const known = ['type', 'source', 'src', 'target', 'dst', 'destination', 'readonly', 'ro', 'bind-propagation'];
  const unknown = [...fields.keys()].find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw invalid('mount', text, `unexpected key '${unknown}' in '${unknown}=${fields.get(unknown) ?? ''}'`);
  const target = fields.get('target') ?? fields.get('dst') ?? fields.get('destination');
  const source = fields.get('source') ?? fields.get('src');
  if (!target) throw invalid('mount', text, 'target is required');
  if (type !== 'bind' || !source)
    throw new DockerError(`docker: the simulated engine knows bind mounts only: --mount ${text}\n`, 125);
  const flag = (name: string) => fields.has(name) && ['', 'true', '1'].includes(fields.get(name)!);
  return { source, target, readOnly: flag('readonly') || flag('ro'), make: false };
}

/** A row of CSV: a field with a comma or a quote stands in quotes, and a quote in it is doubled. */
function csvRow(text: string): string[] {
  const fields = [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,"]*))(?=,|$)/g)];
  if (fields.reduce((length, [match]) => length + match.length, 0) !== text.length) {
    throw invalid('mount', text, 'parse error on line 1, column 1: bare " in non-quoted-field');
  }
  return fields.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '');
}

function readUlimit(text: string) {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (!match) throw invalid('ulimit', text, `invalid ulimit argument: ${text}`);
  const [, name = '', soft = '', hard = soft] = match;
  const names = [
    'core',
    'cpu',
    'data',
    'fsize',
    'locks',
    'memlock',
    'msgqueue',
    'nice',
    'nofile',
    'nproc',
    'rss',
    'rtprio',
    'rttime',
    'sigpending',
    'stack',
  ];
  if (!names.includes(name)) throw invalid('ulimit', text, `invalid ulimit type: ${name}`);
  return { Name: name, Hard: Number(hard), Soft: Number(soft) };
}

function readBytes(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text);
  if (!match) throw invalid(flag, text, `invalid size: '${text}'`);
  return Math.round(Number(match[1]) * 1024 ** 'bkmgt'.indexOf((match[2] || 'b').toLowerCase()));
}

function readInt(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^-?\d+$/.test(text)) throw invalid(flag, text, `strconv.ParseInt: parsing "${text}": invalid syntax`);
  return Number(text);
}

const invalid = (flag: string, value: string, why: string) =>
  new DockerError(
    `invalid argument "${value}" for "--${flag}" flag: ${why}\n\nUsage:  ${RUN.usage}\n\nRun 'docker run --help' for more information\n`,
    125,
  );

const run = (message: string, exitCode = 125) =>
  new DockerError(
    `docker: Error response from daemon: ${message}\n\nRun 'docker run --help' for more information\n`,
    exitCode,
  );

/** An error of the engine while `run` creates or starts a container. */
export const runError = run;

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return index < 0 ? [text, ''] : [text.slice(0, index), text.slice(index + 1)];
}
