import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { DeployError } from '../../src/errors.ts';
import type { Command, Drivers, Fetch, Host, Output, Runtime, UnitSpec, UnitState } from '../../src/drivers/types.ts';
import type { HostRef } from '../../src/plan/types.ts';
import type { SecretRef } from '../../src/spec/schema.ts';
import { hostKeptLogs } from '../../src/drivers/kept-logs.ts';
import { raw } from '../../src/text/raw.ts';
import { ANSWER_MS } from './patience.ts';

/** Something that runs inside the test's own process and yet ends, logs and takes signals as a unit does. */
export interface InProcess {
  readonly exited: Promise<number>;
  signal(name: 'SIGTERM' | 'SIGKILL'): void;
}

/** Starts what `unit` names inside this process, or says undefined: then it is spawned. */
export type Programs = (unit: UnitSpec, log: (line: string) => void) => InProcess | undefined;

/** A host that is this machine: commands and jobs run here, in a HOME of their own; HTTP goes straight. It has no Docker. */
export interface LocalHost extends Host {
  readonly home: string;
  readonly units: ReadonlyMap<string, Unit>;
  /** HTTP requests so far: a test waits for what waits. */
  readonly fetched: number;
  /** Ends every unit and deletes the home. */
  close(): Promise<void>;
}

export interface Unit {
  readonly spec: UnitSpec;
  state: UnitState;
  readonly lines: string[];
  running: InProcess | undefined;
  /** How often it was started: a retry must not raise it. */
  starts: number;
}

export const hostRef = (name: string, address: string): HostRef => ({
  name,
  address,
  port: 22,
  user: 'ops',
  fabricAddress: address,
  ssh: { knownHostsFile: '', jump: [], become: 'none' },
  stateDir: '~/.tandem',
  leaseDir: '~/leases',
});

export async function localHost(
  name: string,
  address: string,
  programs: Programs = () => undefined,
): Promise<LocalHost> {
  const home = await mkdtemp(join(tmpdir(), 'tandem-host-'));
  let fetched = 0;
  const expand = async (path: string) => path.replace(/^~(?=\/|$)/, home);
  const run = async ({ argv: [file, ...args], env, stdin, timeoutMs }: Command): Promise<Output> => {
    const result = await execa(file!, args, {
      env: { HOME: home, ...env },
      input: stdin ?? '',
      timeout: timeoutMs,
      reject: false,
      stripFinalNewline: false,
    });
    const { stdout, stderr, exitCode, timedOut } = result;
    return { stdout: raw(stdout), stderr: raw(stderr), exitCode: exitCode ?? 127, timedOut };
  };
  const units = new Map<string, Unit>();
  const jobs = processRuntime(home, units, programs);
  return {
    ref: hostRef(name, address),
    home,
    units,
    run,
    runAll: (commands) => Promise.all(commands.map(run)),
    async must(command) {
      const { stdout, stderr, exitCode } = await run(command);
      if (exitCode !== 0) throw commandFailed(name, `${command.argv.join(' ')}: ${stderr}`);
      return stdout;
    },
    async writeFile(path, content, { mode = 0o644 } = {}) {
      const target = await expand(path);
      await mkdir(dirname(target), { recursive: true });
      await writeFile(`${target}.part`, content, { mode });
      await rename(`${target}.part`, target);
    },
    expand,
    runtime: (kind) => (kind === 'process' ? jobs : noDocker(name)),
    leases: {
      list: async () => [],
      take: async () => {},
      release: async () => {},
      breakHeld: async () => [],
    },
    get keptLogs() {
      return hostKeptLogs(this as LocalHost);
    },
    picture: async () => ({ host: name, things: {}, kept: [] }),
    fetch: (url, init) => {
      fetched += 1;
      return direct(url, init);
    },
    get fetched() {
      return fetched;
    },
    async close() {
      const running = [...units.values()].flatMap((unit) => unit.running ?? []);
      for (const program of running) program.signal('SIGKILL');
      await Promise.all(running.map(({ exited }) => exited));
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** Drivers over these hosts. Secrets are what `secrets` has under the name of the environment variable. */
export const localDrivers = (hosts: readonly LocalHost[], secrets: Readonly<Record<string, string>> = {}): Drivers => ({
  host(ref) {
    const host = hosts.find((row) => row.ref.name === ref.name);
    if (!host) throw new Error(`no host ${ref.name} in this test`);
    return host;
  },
  async secret(ref: SecretRef) {
    const value = 'fromEnv' in ref ? secrets[ref.fromEnv] : undefined;
    if (value !== undefined) return value;
    throw new DeployError({
      code: 'SECRET_MISSING',
      message: `${JSON.stringify(ref)} is not set`,
      remedy: '',
      retryable: false,
    });
  },
  fetch: direct,
  close: async () => {},
});

const direct: Fetch = async (url, { timeoutMs, signal, ...init } = { timeoutMs: ANSWER_MS }) =>
  await fetch(url, {
    ...init,
    signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(signal ? [signal] : [])]),
  });

const commandFailed = (host: string, message: string) =>
  new DeployError({ code: 'COMMAND_FAILED', message: `${host}: ${message}`, remedy: '', retryable: false, host });

function noDocker(host: string): Runtime {
  const absent = async () => {
    throw commandFailed(host, 'docker: command not found');
  };
  return { kind: 'docker', start: absent, find: absent, stop: absent, restart: absent, remove: absent, logs: absent };
}

function processRuntime(home: string, units: Map<string, Unit>, programs: Programs): Runtime {
  const launch = (unit: Unit) => {
    const running = programs(unit.spec, (line) => unit.lines.push(line)) ?? spawned(home, unit);
    unit.running = running;
    unit.starts += 1;
    // Not the pid of a process, but as different from start to start.
    unit.state = {
      name: unit.spec.name,
      labels: unit.spec.labels,
      argv: unit.spec.argv,
      running: true,
      startedAt: new Date().toISOString(),
      pid: unit.starts,
    };
    void running.exited.then((exitCode) => {
      if (unit.running === running) unit.state = { ...unit.state, running: false, exitCode };
    });
  };
  const need = (name: string): Unit => {
    const unit = units.get(name);
    if (!unit) throw commandFailed('local', `no unit ${name}`);
    return unit;
  };
  return {
    kind: 'process',
    async start(spec) {
      const unit = units.get(spec.name);
      if (unit) return unit.state;
      const created: Unit = {
        spec,
        lines: [],
        running: undefined,
        starts: 0,
        state: undefined as unknown as UnitState,
      };
      launch(created);
      units.set(spec.name, created);
      return created.state;
    },
    async find(labels) {
      const fits = ({ spec }: Unit) => Object.entries(labels).every(([key, value]) => spec.labels[key] === value);
      return [...units.values()].filter(fits).map(({ state }) => state);
    },
    async stop(name, { timeoutSeconds }) {
      const unit = units.get(name);
      if (!unit?.state.running || !unit.running) return;
      unit.running.signal('SIGTERM');
      const kill = setTimeout(() => unit.running?.signal('SIGKILL'), timeoutSeconds * 1000);
      await unit.running.exited;
      clearTimeout(kill);
    },
    async restart(name) {
      const unit = need(name);
      if (!unit.state.running) launch(unit);
    },
    async remove(name) {
      const unit = units.get(name);
      units.delete(name);
      unit?.running?.signal('SIGKILL');
      await unit?.running?.exited;
    },
    async logs(name, { tailLines }) {
      return raw(need(name).lines.slice(-tailLines).join('\n'));
    },
  };
}

function spawned(home: string, { spec, lines }: Unit): InProcess {
  const [file, ...args] = spec.argv;
  const child = execa(file!, args, { env: { HOME: home, ...spec.env }, all: true, reject: false, buffer: false });
  child.all.on('data', (bytes: Buffer) => lines.push(...bytes.toString().trimEnd().split('\n')));
  return {
    exited: child.then(({ exitCode, signal }) => exitCode ?? (signal === 'SIGKILL' ? 137 : 143)),
    signal: (name) => void child.kill(name),
  };
}
