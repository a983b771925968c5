import { unitNumber, type Places } from './picture-look.ts';
import { LABELS } from './types.ts';

/** What the program LOOK printed. */
export interface Look {
  readonly jobs: readonly Job[];
  /** Relative to stateDir/deployments; folders end in a slash. */
  readonly files: readonly string[];
  readonly asides: readonly { readonly name: string; readonly content: string }[];
  readonly partials: readonly string[];
  /** Work folders of copies that gave the weights their place and no mark. */
  readonly unmarked: readonly string[];
  readonly mounts: readonly string[];
  readonly boot: string;
  readonly processes: ReadonlyMap<number, Process>;
  readonly frames: readonly { readonly group: number; readonly began: string }[];
  /** Where the working folder (cwd) and outputs (fd/1, fd/2) of a process lie, if in a folder of Tandem's. */
  readonly links: readonly { readonly pid: number; readonly of: string; readonly target: string }[];
  /** Telling arguments by process. */
  readonly words: ReadonlyMap<number, readonly string[]>;
  /** Processes with the same home as ours. */
  readonly homes: ReadonlySet<number>;
}

export interface Job {
  /** Name of its folder: the job's, or that of one half made or half removed. */
  readonly folder: string;
  /** Of its labels; undefined where they could not be read. */
  readonly cluster: string | undefined;
  readonly installation: string | undefined;
  readonly deployment: number;
  readonly turns: { readonly pid: number; readonly start: string; readonly boot: string }[];
}

export interface Process {
  readonly pid: number;
  readonly program: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly terminal: boolean;
  /** Clock ticks since boot. */
  readonly start: string;
}

/** Reads the rows of LOOK. */
export function readLook(text: string): Look {
  const rows = text.split('\n').map((line) => line.split('\t'));
  const of = (kind: string) => rows.filter(([first]) => first === kind).map(([, ...rest]) => rest);
  const jobs: Job[] = [];
  for (const [kind, first = '', second = '', third = ''] of rows) {
    if (kind === 'job') jobs.push(jobOf(first, second));
    if (kind === 'turn') jobs.at(-1)?.turns.push({ pid: Number(first), start: second, boot: third });
  }
  const words = new Map<number, string[]>();
  for (const line of text.split('\n')) {
    const [, pid, word] = /^(\d+)\/cmdline:(.*)$/.exec(line) ?? [];
    if (pid === undefined) continue;
    const known = words.get(Number(pid));
    if (known) known.push(word!);
    else words.set(Number(pid), [word!]);
  }
  return {
    jobs,
    files: of('file').map(([path = '']) => path),
    asides: of('aside').map(([name = '', content = '']) => ({ name, content })),
    partials: of('partial').map(([path = '']) => path),
    unmarked: of('unmarked').map(([path = '']) => path),
    // The kernel writes blanks and their like as octal numbers.
    mounts: of('mount').map(([point = '']) =>
      point.replace(/\\(\d{3})/g, (_, code: string) => String.fromCharCode(parseInt(code, 8))),
    ),
    boot: of('boot')[0]?.[0] ?? '',
    processes: new Map(
      text
        .split('\n')
        .flatMap((line) => processOf(line) ?? [])
        .map((row) => [row.pid, row]),
    ),
    frames: of('frame').map(([group, began = '']) => ({ group: Number(group), began })),
    links: [...new Map(of('link').map(([path = '', target = '']) => [path, target] as const))].map(([path, target]) => {
      const slash = path.indexOf('/');
      return { pid: Number(path.slice(0, slash)), of: path.slice(slash + 1), target };
    }),
    words,
    homes: new Set(rows.flatMap(([first]) => /^(\d+)\/environ$/.exec(first!)?.[1] ?? []).map(Number)),
  };
}

function jobOf(folder: string, text: string): Job {
  let labels: Readonly<Record<string, string>> = {};
  try {
    labels = JSON.parse(text) as typeof labels;
  } catch {
    // Half made: its name has to do.
  }
  return {
    folder,
    cluster: labels[LABELS.cluster] ?? labels['tandem.weights'],
    installation: labels[LABELS.installation],
    deployment: Number(labels[LABELS.deployment]),
    turns: [],
  };
}

/** A line of /proc/<pid>/stat, proc(5). What has ended and only waits to be asked for its exit code is no process. */
function processOf(line: string): Process | undefined {
  // The program's name may hold blanks and brackets itself.
  const [open, close] = [line.indexOf(' ('), line.lastIndexOf(') ')];
  const pid = line.slice(0, open);
  const fields = line.slice(close + 2).split(' ');
  if (close < open + 2 || !/^\d+$/.test(pid) || fields.length < 20 || 'ZX'.includes(fields[0]!)) return undefined;
  const [parent, group, session, terminal] = fields.slice(1, 5).map(Number);
  return {
    pid: Number(pid),
    program: line.slice(open + 2, close),
    parent: parent!,
    group: group!,
    session: session!,
    terminal: terminal !== 0,
    start: fields[19]!,
  };
}

/**
 * Whether what bears this number of a deployment, and no installation, may be ours: another installation that uses the
 * same name on the same host has numbers of its own.
 */
export type Ownership = (deployment: number) => boolean;

/** A job of ours. */
export interface SeenJob {
  readonly name: string;
  readonly folder: string;
  /** False for a folder of a job that was half made or half removed. */
  readonly whole: boolean;
  readonly running: boolean;
  readonly turns: Job['turns'];
}

/** The jobs of the cluster's own installation; what is half made goes by its name. */
export function jobsSeen(look: Look, { cluster, installation }: Places, owned: Ownership): SeenJob[] {
  return look.jobs
    .filter((job) => {
      if (job.cluster !== undefined)
        return job.cluster === cluster && (job.installation ?? installation) === installation;
      const deployment = unitNumber(cluster, job.folder);
      return deployment !== undefined && owned(deployment);
    })
    .map(({ folder, cluster: labelled, turns }) => {
      const last = turns.at(-1);
      return {
        name: unitName(folder),
        folder,
        whole: labelled !== undefined && !folder.startsWith('.'),
        running: last !== undefined && lives(look, last),
        turns,
      };
    });
}

const unitName = (folder: string): string => folder.replace(/^\.(.*?)(\.gone)?\.\d+$/, '$1');

/** A pid counts only with its start time and boot id: after a reboot it may be anybody's. */
const lives = ({ boot, processes }: Look, turn: Job['turns'][number]): boolean =>
  turn.boot === boot && processes.get(turn.pid)?.start === turn.start;

/**
 * Processes that are the cluster's and belong to nothing that runs. Nobody else's is ever among them, so each needs a
 * trace that only Tandem leaves:
 * - a session or process group that a start of a job wrote down and whose first process is gone: the kernel gives that
 *   number to nobody while one of them lives;
 * - an output that goes to a file of a job or a copy, be it deleted;
 * - the supervisor of a job: it stands in the job's folder, which is among its arguments;
 * - a command of the ssh driver: its group was written down, and an argument names something of the cluster. Then what
 *   runs it and watches it counts too. A command that is under way at this moment cannot be told from one that was lost.
 */
export function processRows(look: Look, scope: Places, jobs: readonly SeenJob[], owned: Ownership): string[] {
  const found = new Map<number, string>();
  const running = new Set<number>();
  const { inSession, inGroup, startedBy } = familiesOf(look);
  const [living, ended] = [new Set<number>(), new Map<number, string>()];
  for (const { name, turns } of jobs) {
    for (const turn of turns.filter(({ boot }) => boot === look.boot)) {
      if (lives(look, turn)) living.add(turn.pid);
      else if (!look.processes.has(turn.pid)) ended.set(turn.pid, name);
    }
  }
  const members = (first: number) => [...(inSession.get(first) ?? []), ...(inGroup.get(first) ?? [])];
  for (const first of living) {
    for (const { pid } of [...members(first), { pid: look.processes.get(first)!.parent }]) running.add(pid);
  }
  for (const [first, name] of ended) for (const { pid } of members(first)) found.set(pid, name);
  const busy = new Set(jobs.filter((job) => job.whole && job.running).map(({ folder }) => folder));
  for (const link of look.links) {
    const name = traceOf(look, scope, owned, link);
    if (name !== undefined && !busy.has(name) && look.processes.has(link.pid)) found.set(link.pid, name);
  }
  for (const pid of framesOf(look, scope, owned, { inGroup })) found.set(pid, 'a command over SSH');
  for (const [pid, whose] of found) {
    for (const child of startedBy.get(pid) ?? []) if (!found.has(child)) found.set(child, whose); // Seen in its turn.
  }
  return [...found]
    .filter(([pid]) => !running.has(pid) && look.processes.has(pid))
    .map(([pid, whose]) => {
      const { program, start } = look.processes.get(pid)!;
      return `${pid} ${program}, of ${whose} (start ${start})`;
    });
}

/** The job or copy whose file a process writes to, or which it supervises; undefined where it is not ours. */
function traceOf(look: Look, scope: Places, owned: Ownership, { pid, of, target }: Look['links'][number]) {
  const { stateDir, modelPath, cluster, installation } = scope;
  const partial = `${modelPath}.partial-${cluster}-`;
  if (target.startsWith(partial)) {
    const [folder = ''] = target.slice(partial.length).split('/');
    return of !== 'cwd' && /^\d+-/.test(folder) && folder.replace(/^\d+-/, '') === installation ? 'a copy' : undefined;
  }
  if (!target.startsWith(`${stateDir}/jobs/`)) return undefined;
  const path = target.replace(/ \(deleted\)$/, '');
  const folder = path.slice(`${stateDir}/jobs/`.length).split('/')[0]!;
  const deployment = unitNumber(cluster, folder);
  if (deployment === undefined || !owned(deployment)) return undefined;
  if (of !== 'cwd') return unitName(folder);
  const isSupervisor = look.words.get(pid)?.includes(path) ?? false;
  const isOrphan = folder.includes('.gone.') && !look.processes.get(pid)?.terminal;
  return isSupervisor || isOrphan ? unitName(folder) : undefined;
}

/** Processes of commands that the ssh driver started for this cluster, with what runs and watches them. */
function framesOf(look: Look, { cluster }: Places, owned: Ownership, { inGroup }: Pick<Families, 'inGroup'>): number[] {
  const { processes, words, homes, frames } = look;
  const isRunner = (pid: number) => words.get(pid)?.some((word) => word.startsWith('tandem_path=')) ?? false;
  const isOurs = (pid: number) =>
    homes.has(pid) &&
    (words.get(pid) ?? []).some((word) => {
      if (word.startsWith('tandem_path=')) return false;
      const unit = word.split('/').find((part) => part.startsWith(`tandem-${cluster}-`));
      const deployment = unit === undefined ? undefined : unitNumber(cluster, unit);
      return deployment === undefined || owned(deployment);
    });
  const seen = new Set<number>();
  return frames.flatMap(({ group, began }) => {
    const first = processes.get(group);
    if (seen.has(group) || (first && first.start !== began)) return []; // The number is somebody else's by now.
    seen.add(group);
    const members = (inGroup.get(group) ?? []).map(({ pid }) => pid);
    if (!members.some(isOurs)) return [];
    // The runner and the shells above it; what they started is found from them. A host may say that one is its own parent.
    const runners = new Set<number>();
    for (
      let above = first?.parent ?? 0;
      isRunner(above) && !runners.has(above);
      above = processes.get(above)?.parent ?? 0
    )
      runners.add(above);
    return [...members, ...runners];
  });
}

/** Processes by what binds them. */
interface Families {
  readonly inSession: ReadonlyMap<number, readonly Process[]>;
  readonly inGroup: ReadonlyMap<number, readonly Process[]>;
  /** Numbers of those that a process started. */
  readonly startedBy: ReadonlyMap<number, readonly number[]>;
}

function familiesOf({ processes }: Look): Families {
  const [inSession, inGroup] = [new Map<number, Process[]>(), new Map<number, Process[]>()];
  const startedBy = new Map<number, number[]>();
  const add = <T>(families: Map<number, T[]>, key: number, member: T) => {
    const family = families.get(key);
    if (family) family.push(member);
    else families.set(key, [member]);
  };
  for (const process of processes.values()) {
    add(inSession, process.session, process);
    add(inGroup, process.group, process);
    add(startedBy, process.parent, process.pid);
  }
  return { inSession, inGroup, startedBy };
}
