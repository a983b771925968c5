import { DeployError } from '../errors.ts';
import { lastLines } from './last-lines.ts';
import { exports, quote } from './ssh/quote.ts';
import type { Host, Output, Runtime, UnitSpec, UnitState } from './types.ts';
import { ending, type Raw } from '../text/raw.ts';

const SHORT_MS = 60_000;
/** Exit code of the scripts when the job's folder is not there, and when a job of other labels is. */
const NONE = 10;
const OTHER = 11;

/**
 * Named jobs: processes that outlive the SSH session, in `<stateDir>/jobs/<name>/` (0700, everything in it 0600):
 *
 *     labels, unit   one line of JSON each; run: environment and command line as a program for sh; output, of both streams
 *     0/, 1/, …      one folder per start, made by mkdir, which only one of many succeeds in: no start happens twice.
 *                    In it began (ISO 8601), pid ("pid start-time boot-id"), and exit once it has ended
 *
 * A supervisor, detached, makes the start's folder, runs the command in a session of its own, ends what that leaves in
 * its process group, and writes the exit code. A pid counts only with its start time and boot id: after a reboot it may
 * be anybody's. Stopping and removing end what is left of a job even where first process and supervisor are gone: an
 * SGLang that dies while it loads leaves a sglang::scheduler, which holds its memory and GPU for ever.
 */
export function jobsRuntime(host: Host): Runtime {
  const script = async (text: string, args: readonly string[], options: { stdin?: string; timeoutMs?: number } = {}) =>
    host.run({
      argv: ['sh', '-c', LIBRARY + text, 'sh', await host.expand(`${host.ref.stateDir}/jobs`), ...args],
      timeoutMs: SHORT_MS,
      ...options,
    });
  const must = async (what: string, output: Promise<Output>): Promise<Raw> => {
    const { exitCode, stdout, stderr } = await output;
    if (exitCode === 0 || exitCode === NONE) return stdout;
    throw new DeployError({
      code: 'COMMAND_FAILED',
      message: `${host.ref.name}: ${what} failed`,
      remedy: `Check on ${host.ref.name} that ${host.ref.stateDir} can be written by ${host.ref.user} and has space.`,
      retryable: false,
      host: host.ref.name,
      evidence: ending(stderr || stdout),
    });
  };

  return {
    kind: 'process',

    async start(unit) {
      const output = await script(START, [named(unit.name)], { stdin: content(unit) });
      if (output.exitCode === OTHER) throw nameConflict(host, unit, output.stdout);
      const [state] = parse(await must(`starting job ${unit.name}`, Promise.resolve(output)));
      if (!state) throw new TypeError(`job ${unit.name} did not say its state`);
      return state;
    },

    async find(labels) {
      const units = parse(await must('listing jobs', script(FIND, [])));
      return units.filter((unit) => Object.entries(labels).every(([key, value]) => unit.labels[key] === value));
    },

    async stop(name, { timeoutSeconds }) {
      const timeoutMs = timeoutSeconds * 1000 + SHORT_MS;
      await must(`stopping job ${name}`, script(STOP, [named(name), String(timeoutSeconds)], { timeoutMs }));
    },

    async restart(name) {
      const output = await script(RESTART, [named(name)]);
      await must(`restarting job ${name}`, Promise.resolve(output));
      if (output.exitCode === NONE) throw unknown(host, name);
    },

    async remove(name) {
      await must(`removing job ${name}`, script(REMOVE, [named(name)]));
    },

    logs: (name, { tailLines }) =>
      lastLines(tailLines, async (lines) => {
        const output = await script(LOGS, [named(name), String(lines)]);
        if (output.exitCode === NONE) throw unknown(host, name);
        await must(`reading the log of job ${name}`, Promise.resolve(output));
        return output;
      }),
  };
}

/** What the scripts have in common. $1 is the folder of all jobs, $2 the job. */
const LIBRARY = String.raw`
umask 077
jobs=$1
[ $# -gt 1 ] && name=$2 job=$jobs/$2
# The number of a job's last start; empty when there was none.
last() {
  turn=
  next=0
  while [ -d "$1/$next" ]; do turn=$next next=$((next + 1)); done
}
# Whose the number of a start's process is: "runs" where it still is the one that was written down, "ended" where that
# is gone or waits to be asked for its exit code, nothing where it may be anybody's.
fate() {
  read -r pid start boot 2>/dev/null <"$1/pid" && read -r here </proc/sys/kernel/random/boot_id || return 0
  [ "$boot" = "$here" ] || return 0
  set -- $(sed "s/.*) //" "/proc/$pid/stat" 2>/dev/null)
  if [ $# -lt 20 ]; then echo ended; return; fi
  state=$1
  shift 19
  [ "$start" = "$1" ] || return 0
  case $state in [ZX]) echo ended ;; *) echo runs ;; esac
}
living() {
  read -r pid start boot 2>/dev/null <"$1/pid" && [ "$(fate "$1")" = runs ]
}
# Prints a job: name, 1 for running, pid, exit code, begin, and the two lines of JSON.
show() {
  last "$1"
  running=0 pid= code= began=
  [ -n "$turn" ] && living "$1/$turn" && running=1
  [ -n "$turn" ] && {
    read -r code <"$1/$turn/exit"
    read -r began <"$1/$turn/began"
  } 2>/dev/null
  printf "%s\n" "$(basename -- "$1")" "$running" "$pid" "$code" "$began"
  cat "$1/labels" "$1/unit"
}
# Waits until a start has its process, or has ended: job, number.
wait_for() {
  tries=0
  until [ -e "$1/$2/pid" ] || [ -e "$1/$2/exit" ]; do
    tries=$((tries + 1))
    [ $tries -gt 200 ] && echo "the job's supervisor did not start" >&2 && return 1
    sleep 0.05
  done
}
# Starts a job for the given time, unless somebody does: job, number.
launch() {
  setsid sh -c "$SUPERVISOR" sh "$1" "$2" </dev/null >/dev/null 2>&1 &
  wait_for "$1" "$2"
}
# Processes that a start left, whose first one has ended: job, number. Those of its group and session, whose number the
# kernel gives to nobody meanwhile, and those whose output goes to the job's file.
left_of() {
  [ "$(fate "$1/$2")" = ended ] && read -r pid rest <"$1/$2/pid" || return 0
  for each in /proc/[0-9]*; do
    [ -O "$each" ] && read -r line 2>/dev/null <"$each/stat" || continue
    job=$1
    set -- ${'$'}{line##*) }
    group=$3 session=$4
    set -- "$job"
    if [ "$group" = "$pid" ] || [ "$session" = "$pid" ] ||
      [ "$each/fd/1" -ef "$job/output" ] || [ "$each/fd/2" -ef "$job/output" ]; then
      case $line in *") Z "* | *") X "*) ;; *) basename "$each" ;; esac
    fi
  done
}
# Ends them: job, number.
sweep() {
  tries=0
  while left=$(left_of "$1" "$2") && [ -n "$left" ]; do
    [ $tries -gt 300 ] && echo "processes do not end even by KILL:" $left >&2 && return 1
    kill -s KILL -- $left 2>/dev/null
    tries=$((tries + 1))
    sleep 0.1
  done
}
# Ends a job with all that is left of it: job, seconds after which KILL follows. The supervisor writes the exit code.
end() {
  last "$1"
  [ -n "$turn" ] || return 0
  end_first "$1" "$2" && sweep "$1" "$turn"
}
# Ends the process group of a job whose first process lives: job, seconds.
end_first() {
  living "$1/$turn" || return 0
  kill -s TERM -- "-$pid"
  tries=$(($2 * 10))
  while living "$1/$turn"; do
    [ $tries -eq 0 ] && kill -s KILL -- "-$pid"
    [ $tries -lt -300 ] && echo "process $pid does not end even by KILL" >&2 && return 1
    tries=$((tries - 1))
    sleep 0.1
  done
  tries=0
  until [ -e "$1/$turn/exit" ] || [ $tries -gt 20 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
}
SUPERVISOR='
cd "$1" && mkdir "$2" 2>/dev/null || exit
date -u +%Y-%m-%dT%H:%M:%SZ >"$2/began"
setsid sh ./run "$2" </dev/null >>output 2>&1
code=$?
read -r pid rest <"$2/pid" && kill -s KILL -- "-$pid" 2>/dev/null
echo "$code" >"$2/exit.aside" && mv "$2/exit.aside" "$2/exit"
'
`;

const START = String.raw`
IFS= read -r labels
IFS= read -r unit
if [ ! -d "$job" ]; then
  mkdir -p -- "$jobs" || exit 1
  aside=$jobs/.$name.$$
  mkdir -- "$aside" && printf "%s\n" "$labels" >"$aside/labels" && printf "%s\n" "$unit" >"$aside/unit" &&
    cat >"$aside/run" && : >"$aside/output" || { rm -rf -- "$aside"; exit 1; }
  # A rename onto a folder that is there and not empty fails: another attempt was quicker.
  mv -T -- "$aside" "$job" 2>/dev/null || rm -rf -- "$aside"
fi
[ "$(cat -- "$job/labels")" = "$labels" ] || { cat -- "$job/labels"; exit ${OTHER}; }
last "$job"
if [ -z "$turn" ]; then launch "$job" 0 || exit 1; else wait_for "$job" "$turn"; fi
show "$job"
`;

const FIND = String.raw`
[ -e "$jobs" ] || exit 0
cd -- "$jobs" || exit 1
for each in *; do
  [ -e "$each/unit" ] && show "$jobs/$each"
done
exit 0
`;

const STOP = `[ -d "$job" ] || exit ${NONE}
end "$job" "$3"
`;

const RESTART = String.raw`
[ -d "$job" ] || exit ${NONE}
last "$job"
# Another restart may have made the folder of its start a moment ago: it has no process yet, and is not to be doubled.
[ -n "$turn" ] && { wait_for "$job" "$turn" 2>/dev/null || :; } && living "$job/$turn" && exit 0
launch "$job" "$next"
`;

/**
 * Shared memory that SGLang and its collectives leave behind (utils/stale_shm_cleanup.py of SGLang 0.5.23): each engine that
 * ends some, one that is killed more, until /dev/shm is full and the next one dies of it.
 */
const LEFT_IN_SHM = ['sglang_loads_*', 'sgl_shm_*', 'multi_tokenizer_args_*', 'nccl-*']
  .map((pattern) => `-name "${pattern}"`)
  .join(' -o ');

const REMOVE = String.raw`
[ -d "$job" ] || exit ${NONE}
end "$job" 0 || exit 1
# What no process has open is left over, by this job or one before it; another user's cannot be an own process's.
find /dev/shm -maxdepth 1 -type f -user "$(id -u)" "(" ${LEFT_IN_SHM} ")" | while IFS= read -r left; do
  grep -q -s -F -e "$left" /proc/[0-9]*/maps || [ "$(find /proc/[0-9]*/fd -lname "$left" 2>/dev/null)" ] ||
    rm -f -- "$left"
done
aside=$jobs/.$name.gone.$$
mv -T -- "$job" "$aside" 2>/dev/null
rm -rf -- "$aside"
`;

const LOGS = `[ -d "$job" ] || exit ${NONE}
tail -n "$3" -- "$job/output"
`;

/** Labels, unit and the program that becomes the command; the environment may hold secrets and is in this file alone. */
function content({ labels, argv, env }: UnitSpec): string {
  return [
    canonical(labels),
    JSON.stringify({ argv }),
    NOTE_PID,
    exports(env),
    `exec ${argv.map(quote).join(' ')}`,
    '',
  ].join('\n');
}

/** Writes down which process this is before it becomes the command; $1 is the folder of this start. */
const NOTE_PID = `read -r stat </proc/self/stat
read -r boot </proc/sys/kernel/random/boot_id
turn=$1
set -- $stat
pid=$1
shift 21
echo "$pid $1 $boot" >"$turn/pid.aside" && mv "$turn/pid.aside" "$turn/pid" || exit
unset stat boot turn pid`;

const canonical = (labels: UnitSpec['labels']) =>
  JSON.stringify(Object.fromEntries(Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1))));

/** The units that `show` printed: seven lines each. */
function parse(text: string): UnitState[] {
  const lines = text.split('\n');
  return Array.from({ length: Math.floor(lines.length / 7) }, (_, index) => {
    const [name = '', running, pid, exitCode, startedAt, labels = '', unit = ''] = lines.slice(
      index * 7,
      index * 7 + 7,
    );
    return {
      name,
      labels: JSON.parse(labels) as UnitState['labels'],
      running: running === '1',
      ...(running === '1' ? { pid: Number(pid) } : {}),
      ...(exitCode ? { exitCode: Number(exitCode) } : {}),
      ...(startedAt ? { startedAt } : {}),
      argv: (JSON.parse(unit) as { argv: string[] }).argv,
    };
  });
}

/** Names of units and clusters become folders and files. */
export const isName = (name: string): boolean => /^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name);
export function named(name: string): string {
  if (!isName(name)) throw new TypeError(`not a name of a unit: ${JSON.stringify(name)}`);
  return name;
}

const nameConflict = (host: Host, { name, labels }: UnitSpec, found: string) =>
  new DeployError({
    code: 'NAME_CONFLICT',
    message: `${host.ref.name}: a job ${name} is there with labels ${found.trim()}, wanted ${canonical(labels)}`,
    remedy: `See ${host.ref.stateDir}/jobs/${name} on ${host.ref.name}; end and remove it if nobody needs it.`,
    retryable: false,
    host: host.ref.name,
  });

const unknown = (host: Host, name: string) =>
  new DeployError({
    code: 'COMMAND_FAILED',
    message: `${host.ref.name}: there is no job ${name} in ${host.ref.stateDir}/jobs`,
    remedy: 'Deploy again: what it was is not known on the host any more.',
    retryable: false,
    host: host.ref.name,
  });
