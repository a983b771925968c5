import type { Machine } from '../machine.ts';
import { parseArgs, printed, refused, UnknownFlag, type Tool } from './tool.ts';

/** Tools of the operating system that would tell about the real machine. */

export const uname: Tool = ({ scenario: { name, kernel } }, args) => {
  try {
    const { flags, words } = parseArgs(args, {
      '-a': 'bare',
      '-s': 'bare',
      '-n': 'bare',
      '-r': 'bare',
      '-v': 'bare',
      '-m': 'bare',
      '-o': 'bare',
    });
    if (words.length > 0)
      return refused(`uname: extra operand '${words[0]}'\nTry 'uname --help' for more information.\n`);
    const parts: readonly (readonly [flag: string, text: string])[] = [
      ['-s', 'Linux'],
      ['-n', name],
      ['-r', kernel],
      ['-v', '#62-Ubuntu SMP PREEMPT_DYNAMIC'],
      ['-m', 'x86_64'],
      ['-o', 'GNU/Linux'],
    ];
    const asked = flags.size === 0 ? new Set(['-s']) : new Set(flags.keys());
    return printed(
      `${parts
        .filter(([flag]) => asked.has('-a') || asked.has(flag))
        .map(([, text]) => text)
        .join(' ')}\n`,
    );
  } catch (error) {
    return badOption('uname', error);
  }
};

export const hostname: Tool = ({ scenario }, args) => {
  const [option, ...rest] = args;
  if (option === undefined || option === '-s' || option === '-f') return printed(`${scenario.name}\n`);
  if (option === '-I' && rest.length === 0) return printed(`${addresses(scenario).join(' ')} \n`);
  return refused(`hostname: invalid option -- '${option.replace(/^-+/, '')}'\n`);
};

const addresses = ({ address, fabricAddress }: Machine['scenario']) => [
  ...new Set([address, fabricAddress ?? address]),
];

export const nproc: Tool = ({ scenario }, args) =>
  args.length === 0 || args[0] === '--all'
    ? printed(`${scenario.cores}\n`)
    : refused(`nproc: unrecognized option '${args[0]}'\n`);

export const whoami: Tool = ({ scenario }) => printed(`${scenario.user}\n`);

const GROUPS = [
  [1000, undefined],
  [44, 'video'],
  [993, 'render'],
  [999, 'docker'],
] as const;

export const id: Tool = ({ scenario: { user, docker } }, args) => {
  const groups = GROUPS.filter(([, name]) => name !== 'docker' || docker.state !== 'denied');
  try {
    const { flags } = parseArgs(args, { '-u': 'bare', '-g': 'bare', '-G': 'bare', '-n': 'bare', '-r': 'bare' });
    const names = flags.has('-n');
    if (flags.has('-u')) return printed(names ? `${user}\n` : '1000\n');
    if (flags.has('-g')) return printed(names ? `${user}\n` : '1000\n');
    if (flags.has('-G')) return printed(`${groups.map(([gid, name]) => (names ? (name ?? user) : gid)).join(' ')}\n`);
    return printed(
      `uid=1000(${user}) gid=1000(${user}) groups=${groups.map(([gid, name]) => `${gid}(${name ?? user})`).join(',')}\n`,
    );
  } catch (error) {
    return badOption('id', error);
  }
};

/** `getent group|passwd NAME…`: exit 2 when one is not known. */
export const getent: Tool = ({ scenario: { user } }, [database, ...names]) => {
  const known = new Map<string, string>(
    database === 'group'
      ? GROUPS.map(([gid, name]): [string, string] => [name ?? user, `${name ?? user}:x:${gid}:${name ? user : ''}`])
      : database === 'passwd'
        ? [[user, `${user}:x:1000:1000::/home/${user}:/bin/sh`]]
        : [],
  );
  if (database !== 'group' && database !== 'passwd') return refused(`Unknown database: ${database ?? ''}\n`);
  const found = names.flatMap((name) => known.get(name) ?? []);
  return {
    stdout: found.map((line) => `${line}\n`).join(''),
    stderr: '',
    exitCode: found.length === names.length ? 0 : 2,
  };
};

/** `dmesg` refuses users who are not root where kernel.dmesg_restrict is set, as on most distributions; the simulated ones allow it. */
export const dmesg: Tool = ({ scenario }, args) => {
  try {
    parseArgs(args, {
      '-T': 'bare',
      '-x': 'bare',
      '--time-format': 'value',
      '-l': 'value',
      '--level': 'value',
      '--since': 'value',
      '-k': 'bare',
      '--decode': 'bare',
    });
    return printed(scenario.dmesg.map((line) => `${line}\n`).join(''));
  } catch (error) {
    return badOption('dmesg', error);
  }
};

export const sysctl: Tool = (machine, args) => {
  const known: Readonly<Record<string, string>> = {
    'kernel.numa_balancing': machine.scenario.numaBalancing,
    'kernel.random.boot_id': machine.bootId,
    'kernel.hostname': machine.scenario.name,
    'kernel.osrelease': machine.scenario.kernel,
  };
  const bare = args.includes('-n');
  const unknown = args.find((arg) => arg !== '-n' && known[arg] === undefined);
  if (unknown !== undefined)
    return refused(`sysctl: cannot stat /proc/sys/${unknown.replaceAll('.', '/')}: No such file or directory\n`, 255);
  return printed(
    args
      .filter((arg) => arg !== '-n')
      .map((key) => (bare ? `${known[key]}\n` : `${key} = ${known[key]}\n`))
      .join(''),
  );
};

/** `df` knows one file system, mounted at /; `exists` tells which of the asked paths are there. */
export const df =
  (exists: (path: string) => boolean): Tool =>
  ({ scenario: { disk } }, args) => {
    try {
      const { flags, words } = parseArgs(args, {
        '-P': 'bare',
        '-k': 'bare',
        '-h': 'bare',
        '-T': 'bare',
        '-l': 'bare',
        '-m': 'bare',
        '--output': 'value',
        '-B': 'value',
        '--block-size': 'value',
      });
      const block = blockOf(flags);
      if (block === undefined) return refused(`df: invalid -B argument '${flags.get('-B')?.at(-1) ?? ''}'\n`);
      const missing = words.filter((path) => !exists(path));
      const stderr = missing.map((path) => `df: ${path}: No such file or directory\n`).join('');
      const rows = words.length === 0 ? 1 : words.length - missing.length;
      const exitCode = missing.length > 0 ? 1 : 0;
      if (rows === 0) return refused(stderr);
      const size = (gib: number) => String(Math.round((gib * 2 ** 30) / block));
      const used = disk.sizeGiB - disk.freeGiB;
      const columns: Readonly<Record<string, readonly [head: string, value: string]>> = {
        source: ['Filesystem', '/dev/nvme0n1p2'],
        size: [`${block}-blocks`.replace(/^1024-/, flags.has('-P') ? '1024-' : '1K-'), size(disk.sizeGiB)],
        used: ['Used', size(used)],
        avail: [flags.has('-P') ? 'Available' : 'Avail', size(disk.freeGiB)],
        pcent: ['Capacity', `${Math.ceil((100 * used) / disk.sizeGiB)}%`],
        target: ['Mounted on', '/'],
      };
      const chosen = flags.get('--output')?.at(-1)?.split(',') ?? Object.keys(columns);
      const unknown = chosen.find((name) => columns[name] === undefined);
      if (unknown !== undefined) return refused(`df: option --output: field '${unknown}' unknown\n`);
      const line = (at: 0 | 1) =>
        `${chosen
          .map((name) => columns[name]![at].padEnd(14))
          .join(' ')
          .trimEnd()}\n`;
      return { stdout: line(0) + line(1).repeat(rows), stderr, exitCode };
    } catch (error) {
      return badOption('df', error);
    }
  };

/** Bytes of the block that sizes are printed in; -h prints whole GiB here. */
function blockOf(flags: ReadonlyMap<string, readonly string[]>): number | undefined {
  if (flags.has('-m')) return 2 ** 20;
  if (flags.has('-h')) return 2 ** 30;
  const asked = flags.get('-B')?.at(-1) ?? flags.get('--block-size')?.at(-1);
  if (asked === undefined) return 1024;
  const named = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 }[asked];
  const block = named ?? Number(asked);
  return Number.isInteger(block) && block > 0 ? block : undefined;
}

function badOption(tool: string, error: unknown) {
  if (!(error instanceof UnknownFlag)) throw error;
  const { flag } = error;
  const why = flag.startsWith('--') ? `unrecognized option '${flag}'` : `invalid option -- '${flag.slice(1)}'`;
  return refused(`${tool}: ${why}\nTry '${tool} --help' for more information.\n`);
}
