import { spawn, execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Command, Host, Output, Runtime, UnitSpec, UnitState } from '../../src/drivers/types.ts';
import { raw } from '../../src/text/raw.ts';

/** This machine as a host: commands run here, in a home of its own, with real processes as named jobs. */
export interface LocalHost extends Host {
  readonly home: string;
  /** Every command that was run. */
  readonly commands: Command[];
  /** Jobs that were really started, by name; a restart counts too. */
  readonly starts: string[];
  /** First on PATH: puts a shell script there. */
  shim(name: string, script: string): Promise<void>;
  /** kill -9 of everything a job runs. */
  kill(name: string): Promise<void>;
  close(): Promise<void>;
}

interface Job {
  readonly unit: UnitSpec;
  pid: number;
  exitCode: number | undefined;
  ended: Promise<void>;
  output: string;
}

export async function localHost({ without = [] }: { without?: readonly string[] } = {}): Promise<LocalHost> {
  const name = 'gpu-a';
  const home = await mkdtemp(join(tmpdir(), 'tandem-weights-'));
  const bin = join(home, 'bin');
  await mkdir(bin);
  const path = without.length === 0 ? process.env['PATH'] : await pathWithout(home, without);
  const env = { PATH: `${bin}:${path}`, HOME: home, LC_ALL: 'C' };
  const [commands, starts, jobs]: [Command[], string[], Map<string, Job>] = [[], [], new Map()];

  const run = (command: Command): Promise<Output> => {
    commands.push(command);
    return new Promise((resolve) => {
      const [program, ...args] = command.argv;
      const options = {
        env: { ...env, ...command.env },
        cwd: home,
        timeout: command.timeoutMs,
        maxBuffer: 64 * 1024 ** 2,
      };
      const child = execFile(program!, args, options, (error, stdout, stderr) => {
        const exitCode = error ? (typeof error.code === 'number' ? error.code : 127) : 0;
        resolve({
          stdout: raw(stdout),
          stderr: raw(stderr || (exitCode === 127 ? (error?.message ?? '') : '')),
          exitCode,
          timedOut: Boolean(error?.killed),
        });
      });
      child.stdin?.on('error', () => undefined).end(command.stdin ?? '');
    });
  };

  const launch = (job: Job) => {
    starts.push(job.unit.name);
    const [program, ...args] = job.unit.argv;
    const child = spawn(program!, args, {
      env: { ...env, ...job.unit.env },
      cwd: home,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (job.output += String(data)));
    job.pid = child.pid!;
    job.exitCode = undefined;
    job.ended = new Promise((resolve) =>
      child.on('exit', (code, signal) => {
        job.exitCode = code ?? (signal === 'SIGKILL' ? 137 : 143);
        resolve();
      }),
    );
  };
  const stateOf = ({ unit, exitCode, pid }: Job): UnitState => ({
    name: unit.name,
    labels: unit.labels,
    argv: unit.argv,
    running: exitCode === undefined,
    ...(exitCode === undefined ? { pid } : { exitCode }),
  });
  const signal = async (jobName: string, how: NodeJS.Signals) => {
    const job = jobs.get(jobName);
    if (!job || job.exitCode !== undefined) return;
    process.kill(-job.pid, how);
    await job.ended;
  };

  const processes: Runtime = {
    kind: 'process',
    async start(unit) {
      let job = jobs.get(unit.name);
      if (!job) {
        job = { unit, pid: 0, exitCode: undefined, ended: Promise.resolve(), output: '' };
        jobs.set(unit.name, job);
        launch(job);
      }
      return stateOf(job);
    },
    find: async (labels) =>
      [...jobs.values()]
        .filter(({ unit }) => Object.entries(labels).every(([key, value]) => unit.labels[key] === value))
        .map(stateOf),
    stop: (jobName) => signal(jobName, 'SIGTERM'),
    async restart(jobName) {
      const job = jobs.get(jobName);
      if (job && job.exitCode !== undefined) launch(job);
    },
    async remove(jobName) {
      jobs.delete(jobName);
    },
    logs: async (jobName) => raw(jobs.get(jobName)?.output ?? ''),
  };

  return {
    // prettier-ignore
    ref: { name, address: '127.85.0.1', port: 22, user: 'ops', fabricAddress: '127.85.0.1', ssh: { knownHostsFile: '', jump: [], become: 'none' }, stateDir: '~/.tandem', leaseDir: '~/leases' },
    home,
    commands,
    starts,
    run,
    runAll: (all) => Promise.all(all.map(run)),
    async must(command) {
      const output = await run(command);
      if (output.exitCode !== 0) throw new Error(`${command.argv.join(' ')}: ${output.exitCode}: ${output.stderr}`);
      return output.stdout;
    },
    async writeFile(path, content, options) {
      await mkdir(dirname(path), { recursive: true });
      const aside = `${path}.aside-${Math.random().toString(36).slice(2)}`;
      await writeFile(aside, content, { mode: options?.mode ?? 0o644 });
      await rename(aside, path);
    },
    expand: async (path) => path.replace(/^~(?=\/|$)/, home),
    runtime(kind) {
      if (kind !== 'process') throw new Error('no docker here');
      return processes;
    },
    get leases(): never {
      throw new Error('no leases here');
    },
    get keptLogs(): never {
      throw new Error('no logs here');
    },
    picture: () => Promise.reject(new Error('no picture here')),
    fetch: () => Promise.reject(new Error('no fetch here')),
    async shim(tool, script) {
      await writeFile(join(bin, tool), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, tool), 0o755);
    },
    kill: (jobName) => signal(jobName, 'SIGKILL'),
    async close() {
      for (const jobName of jobs.keys()) await signal(jobName, 'SIGKILL');
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** A folder with links to the tools of this machine, but for some. */
async function pathWithout(home: string, tools: readonly string[]): Promise<string> {
  const folder = join(home, 'tools');
  await mkdir(folder);
  const names = (await readdir('/usr/bin')).filter((tool) => !tools.includes(tool));
  await Promise.all(names.map((tool) => symlink(join('/usr/bin', tool), join(folder, tool))));
  return folder;
}

/** Text of a file of this machine; undefined when it is not there. */
export const textOf = (path: string): Promise<string | undefined> => readFile(path, 'utf8').catch(() => undefined);
