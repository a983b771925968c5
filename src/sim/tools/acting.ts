import type { HostScenario } from '../scenario.ts';
import type { ToolCall, ToolEnd } from '../tool-server.ts';

/** `ss`, `ps` and `sudo`: tools that look at what really runs, but only at what is this host's. */

type Print = Pick<ToolCall, 'stdout' | 'stderr'>;

export function ss(
  args: readonly string[],
  sockets: readonly { readonly address: string; readonly port: number }[],
  { stdout, stderr }: Print,
): ToolEnd {
  const letters = args.filter((arg) => arg.startsWith('-')).flatMap((arg) => arg.slice(1).split(''));
  const unknown = letters.find((letter) => !'Hltnp4a'.includes(letter));
  if (unknown !== undefined) {
    stderr(`ss: invalid option -- '${unknown}'\nUsage: ss [ OPTIONS ]\n       ss [ OPTIONS ] [ FILTER ]\n`);
    return 255;
  }
  const filter = args.filter((arg) => !arg.startsWith('-')).join(' ');
  const port = /^\(?\s*sport = :?(\d+)\s*\)?$/.exec(filter)?.[1];
  if (filter !== '' && port === undefined) {
    stderr(`Error: the simulated ss knows only the filter "sport = :PORT", got "${filter}"\n`);
    return 255;
  }
  if (!letters.includes('H')) stdout('State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess\n');
  const rows = sockets.filter((socket) => port === undefined || socket.port === Number(port));
  stdout(
    rows
      .map((row) => `LISTEN 0      511    ${`${row.address}:${row.port}`.padStart(21)}      0.0.0.0:*          \n`)
      .join(''),
  );
  return 0;
}

/** Runs the real `ps` on the processes of this host only. */
export function ps(
  args: readonly string[],
  own: readonly number[],
  program: string | undefined,
  { stderr }: Print,
): ToolEnd {
  if (program === undefined) {
    stderr('ps: command not found\n');
    return 127;
  }
  const rest: string[] = [];
  let asked: readonly number[] | undefined;
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at]!;
    const inline = /^-p(.+)$/.exec(arg)?.[1] ?? /^--pid=(.+)$/.exec(arg)?.[1];
    if (inline !== undefined || arg === '-p' || arg === '--pid') {
      asked = (inline ?? args[(at += 1)] ?? '').split(/[ ,]+/).map(Number);
    } else if (/^-?[aAxe]+$/.test(arg)) {
      continue; // All processes: those of this host.
    } else {
      rest.push(arg === '-ef' ? '-f' : arg === 'aux' ? 'u' : arg);
    }
  }
  const shown = asked ? asked.filter((pid) => own.includes(pid)) : own;
  // Pid 0 is never shown, and ps ends with 1 as it does when nothing was found.
  return { run: [program, ...rest, '-p', shown.length === 0 ? '0' : shown.join(',')] };
}

export function sudo(
  args: readonly string[],
  password: string,
  { user, name, sudo: policy }: HostScenario,
  { stderr }: Print,
): ToolEnd {
  let at = 0;
  let never = false;
  let fromStdin = false;
  let prompt = `[sudo] password for ${user}: `;
  for (; at < args.length && args[at]!.startsWith('-'); at += 1) {
    const arg = args[at]!;
    if (arg === '--') {
      at += 1;
      break;
    }
    if (arg === '-p' || arg === '-u') {
      at += 1;
      if (arg === '-p') prompt = args[at] ?? '';
    } else if (arg === '-n') never = true;
    else if (arg === '-S') fromStdin = true;
    else if (!['-k', '-E', '-H'].includes(arg)) {
      stderr(`sudo: invalid option -- '${arg.slice(1)}'\nusage: sudo -h | -K | -k | -V\n`);
      return 1;
    }
  }
  const words = args.slice(at);
  if (words.length === 0) return 0;
  const env = { SUDO_USER: user, USER: 'root', LOGNAME: 'root' };
  if (policy === 'allowed') return { run: words, env };
  if (never) {
    stderr('sudo: a password is required\n');
    return 1;
  }
  if (!fromStdin) {
    stderr(
      'sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required\n',
    );
    return 1;
  }
  stderr(prompt);
  if (policy === 'refused') {
    stderr(`${user} is not in the sudoers file on ${name}.\n`);
    return 1;
  }
  if (password === policy.password) return { run: words, env };
  stderr('Sorry, try again.\nsudo: no password was provided\nsudo: 1 incorrect password attempt\n');
  return 1;
}
