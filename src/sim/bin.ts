import { accessSync, constants } from 'node:fs';
import { mkdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The folder that is all of a simulated host's PATH. It holds links to harmless real programs, and bash scripts: some
 * ask the simulator and relay what it says (simulated tools), some run the real program on the simulated machine's
 * files instead of the real ones. Bash starts in about 2 ms, and /dev/tcp needs no further program.
 */
export interface BinOptions {
  /** The folder to fill. */
  readonly bin: string;
  readonly home: string;
  /** Where the simulated machine's files lie. */
  readonly root: string;
  /** Where the simulator answers tools, on 127.0.0.1. */
  readonly toolPort: number;
  /** Of this host; whoever has it is this host. */
  readonly token: string;
  /** Names of simulated tools. */
  readonly simulated: readonly string[];
  /** Every command asks, also the real ones: needed where one of them may meet a fault, or all are counted. */
  readonly askAlways: boolean;
}

/** Real programs that neither read nor change the machine, but for the files they are given. */
const REAL =
  `sh bash base64 mkdir rmdir ln rm mv cp sleep setsid flock sha256sum sha1sum md5sum rsync curl env tr sort uniq wc cut
  seq date timeout touch chmod dd tee mktemp mkfifo printf echo true false test [ expr xargs basename dirname cmp diff nohup tar gzip
  sync od truncate install tac comm paste join split kill pwd logname cksum nice gawk mawk`.split(/\s+/);

/** Real programs that are given paths, and must find the simulated machine there. Their first word is a pattern or program where `true`. */
const ROOTED: Readonly<Record<string, boolean>> = {
  cat: false,
  ls: false,
  find: false,
  head: false,
  tail: false,
  stat: false,
  readlink: false,
  realpath: false,
  du: false,
  grep: true,
  sed: true,
  awk: true,
};

/** Programs that a simulated host has when the real machine has them, or that are scripts of the simulator. */
export async function fillBin(options: BinOptions): Promise<void> {
  await mkdir(options.bin, { recursive: true });
  const bash = programPath('bash');
  if (bash === undefined) throw new Error('simulated hosts need bash on the PATH of the simulator');
  const put = async (name: string, script: string) => {
    const path = join(options.bin, name);
    await writeFile(`${path}.new`, `#!${bash}\n${script}`, { mode: 0o700 });
    await rename(`${path}.new`, path); // A script that runs now goes on reading the old file.
  };
  await Promise.all([
    ...options.simulated.map((name) => put(name, name === 'sudo' ? sudo(options) : simulated(name, options))),
    ...Object.keys(ROOTED).map(async (name) => {
      const program = programPath(name);
      if (program) await put(name, (options.askAlways ? ask(name, options) : '') + rooted(name, program, options));
    }),
    ...REAL.filter((name) => !options.simulated.includes(name)).map(async (name) => {
      const program = programPath(name);
      if (!program) return;
      // The script itself is run by bash, so bash and sh stay what they are.
      if (options.askAlways && name !== 'bash' && name !== 'sh')
        await put(name, `${ask(name, options)}exec -a "$0" ${quote(program)} "$@"\n`);
      else await link(program, join(options.bin, name));
    }),
  ]);
}

/** Takes simulated tools off the PATH, as on a host that does not have them. */
export const dropFromBin = (bin: string, names: readonly string[]) =>
  Promise.all(names.map((name) => rm(join(bin, name), { force: true })));

async function link(target: string, path: string): Promise<void> {
  if ((await readlink(path).catch(() => undefined)) === target) return;
  await rm(`${path}.new`, { force: true });
  await symlink(target, `${path}.new`);
  await rename(`${path}.new`, path);
}

/** Where a program lies on this machine: PATH, then the usual folders. */
export function programPath(name: string): string | undefined {
  if (!found.has(name)) found.set(name, findProgram(name));
  return found.get(name);
}

/** Asked for every host; programs do not move while a simulator runs. */
const found = new Map<string, string | undefined>();

function findProgram(name: string): string | undefined {
  const folders = ['/usr/bin', '/bin', '/usr/sbin', '/sbin', ...(process.env['PATH'] ?? '').split(':')];
  return folders
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/**
 * Asks the simulator and does what it says; tool-server.ts has the other half. It says "go on" with what follows here,
 * or runs other words instead. Ending the script closes the connection, which ends the tool.
 */
const ask = (name: string, { token, toolPort }: BinOptions, readInput = '') => `
sim_input=
${readInput}
exec 3<>/dev/tcp/127.0.0.1/${toolPort} || { echo 'the simulator does not answer' >&2; exit 255; }
{
  sim_names=($(compgen -e))
  printf '%s\\0' ${token} ${quote(name)} "$PWD" $$ $# "$@" \${#sim_names[@]}
  for sim_each in "\${sim_names[@]}"; do printf '%s=%s\\0' "$sim_each" "\${!sim_each}"; done
  printf '%s\\0' "$sim_input"
} >&3
sim_words=()
while IFS=' ' read -r sim_kind sim_size <&3; do
  sim_text=
  case $sim_kind in [oeav]) [[ $sim_size = 0 ]] || LC_ALL=C IFS= read -r -N "$sim_size" sim_text <&3 ;; esac
  case $sim_kind in
    o) printf %s "$sim_text" ;;
    e) printf %s "$sim_text" >&2 ;;
    a) sim_words+=("$sim_text") ;;
    v) export "$sim_text" ;;
    k) kill -KILL $$ ;;
    x) exit "$sim_size" ;;
    r) exec 3>&-; [[ \${#sim_words[@]} = 0 ]] || exec "\${sim_words[@]}"; break ;;
  esac
done
[[ $sim_kind = r ]] || exit 255
`;

/** Only `docker login --password-stdin` reads its input: a tool that swallowed the input of its shell would not be one. */
const simulated = (name: string, options: BinOptions) =>
  `${ask(name, options, name === 'docker' ? DOCKER_INPUT : '')}exit 255\n`;
const DOCKER_INPUT = `case " $* " in *' --password-stdin '*) IFS= read -r -d '' sim_input ;; esac`;

/** The password is one line, read without a byte more: the rest of the input is the command's. */
const sudo = (options: BinOptions) => `${ask('sudo', options, SUDO_INPUT)}exit 255\n`;
const SUDO_INPUT = `for sim_each; do case $sim_each in -S|--stdin) IFS= read -r sim_input; break ;; -*) ;; *) break ;; esac; done`;

/**
 * Runs the real program with paths outside the home moved to the simulated machine's files, and moves them back in
 * what it prints. /tmp and /dev/shm are shared with the real machine; /proc/<pid> is there for the host's own processes.
 */
function rooted(name: string, program: string, { home, root, bin }: BinOptions): string {
  const strip = quote(`s|${root}||g`);
  return `
# A process belongs to the host that its environment names, or its parent's does: smg's title overwrites its own.
own() {
  local at=$1 stat
  until { tr '\\0' '\\n' <"/proc/$at/environ"; } 2>/dev/null | ${quote(programPath('grep')!)} -Fxq ${quote(`HOME=${home}`)}; do
    { read -r stat <"/proc/$at/stat"; } 2>/dev/null || return 1
    stat=\${stat##*) } at=\${stat#* } at=\${at%% *}
    [[ $at -gt 1 ]] || return 1
  done
}
args=() moved= skip=${ROOTED[name] ? 1 : ''}
for arg; do
  if [[ $skip ]]; then
    case $skip$arg in
      1-e|1-f) skip=2; args+=("$arg"); continue ;;
      1-*) ;;
      *) skip=; args+=("$arg"); continue ;;
    esac
  fi
  case $arg in
    -*) ${ROOTED[name] ? '[[ $arg = -[ef] ]] && skip=2 ;;' : ';;'}
    ${quote(home)}|${quote(home)}/*|${quote(bin)}|${quote(bin)}/*|/tmp|/tmp/*|/dev/shm|/dev/shm/*|/dev/null|/dev/std*|/dev/fd/*) ;;
    ${quote(root)}/*) moved=1 ;;
    /proc/[0-9]*) pid=\${arg#/proc/}; own "\${pid%%/*}" || { arg=${quote(root)}$arg; moved=1; } ;;
    /*) arg=${quote(root)}$arg; moved=1 ;;
  esac
  args+=("$arg")
done
[[ $moved ]] || exec -a "$0" ${quote(program)} "$@"
{ { exec -a ${name} ${quote(program)} "\${args[@]}" 2>&1 1>&4 4>&- | ${quote(programPath('sed')!)} ${strip} >&2 4>&-; exit \${PIPESTATUS[0]}; } 4>&1 |
  ${name === 'cat' ? quote(programPath('cat')!) : `${quote(programPath('sed')!)} ${strip}`}
  exit \${PIPESTATUS[0]}; }
`;
}
