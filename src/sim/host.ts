import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { dropFromBin, fillBin, programPath } from './bin.ts';
import type { BandwidthTests } from './bandwidth.ts';
import { docker } from './docker/cli.ts';
import { hostPath } from './docker/container.ts';
import { DockerEngine, type DockerCounts } from './docker/engine.ts';
import { startChild } from './docker/child.ts';
import type { Unit, UnitStart } from './docker/unit.ts';
import { startEngine } from './engine/engine.ts';
import { engineArgs, engineDemand, engineExtras, engineObstacle, engineUse, versionInTag } from './engine-start.ts';
import type { CommandFault, FaultBook } from './faults.ts';
import { machineFiles, type MachineFile } from './machine-files.ts';
import { machineOf, type GpuUse, type Machine } from './machine.ts';
import { writeModel } from './models.ts';
import { killProcesses, listeningOn, processesOf, removeRunFolders } from './processes.ts';
import type { HostScenario, Scenario } from './scenario.ts';
import { startSshd, type Sshd } from './sshd.ts';
import type { ToolCall, ToolEnd, ToolServer } from './tool-server.ts';
import { TOOLS } from './tools/index.ts';
import { df } from './tools/system.ts';
import { ps, ss, sudo } from './tools/acting.ts';

export interface HostOptions {
  /** Folder of this host. */
  readonly dir: string;
  readonly scenario: HostScenario;
  readonly index: number;
  readonly whole: Scenario;
  readonly hostKey: string;
  readonly clientKey: string;
  readonly faults: FaultBook;
  readonly tools: ToolServer;
  readonly tests: BandwidthTests;
  /** Program and arguments that run src/sim/engine/main.ts. */
  readonly engineCommand: readonly string[];
  /** Python with the router in it; undefined where there is none. */
  readonly python: string | undefined;
  readonly log: (line: string) => void;
}

export interface HostCounts {
  /** Runs of each command that the simulator was asked about. */
  readonly commands: Readonly<Record<string, number>>;
  /** Command lines that came over SSH. */
  readonly logins: number;
  readonly containersCreated: number;
  /** The same by name. */
  readonly containersByName: Readonly<Record<string, number>>;
  readonly containersStarted: number;
  readonly imagesPulled: number;
  /** In containers and as processes. */
  readonly enginesStarted: number;
}

/** Pids of simulated engines: above what a kernel gives, so that no real process is ever meant. */
const FIRST_PID = 5_000_000;
/** Last commands that are kept word for word. */
const CALLS_KEPT = 5000;

/** One simulated host: its folder, its SSH server, its Docker engine and its tools. */
export class SimHost {
  readonly home: string;
  /** What ran, oldest first: only commands that the simulator was asked about. */
  readonly calls: (readonly string[])[] = [];
  docker: DockerEngine;
  #scenario: HostScenario;
  readonly #options: HostOptions;
  readonly #root: string;
  readonly #bin: string;
  readonly #token = randomUUID();
  readonly #commands = new Map<string, number>();
  readonly #written = new Map<string, string>();
  readonly #dockerCounts: DockerCounts = { created: 0, started: 0, pulled: 0, byName: {} };
  #uses: GpuUse[] = [];
  #logins = 0;
  #engines = 0;
  #pid = FIRST_PID;
  #bootId: string = randomUUID();
  #sshd: Sshd | undefined;
  #cut = false;
  #latencyMs = 0;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#scenario = options.scenario;
    this.home = join(options.dir, 'home');
    this.#root = join(options.dir, 'root');
    this.#bin = join(options.dir, 'bin');
    mkdirSync(this.home, { recursive: true });
    this.docker = this.#newDocker();
    options.tools.serve(this.#token, (call) => this.#answer(call));
  }

  get scenario(): HostScenario {
    return this.#scenario;
  }

  machine(): Machine {
    this.#uses = this.#uses.filter(({ pid }) => pid >= FIRST_PID || existsSync(`/proc/${pid}`));
    return machineOf(this.#scenario, this.#options.index, this.#bootId, this.#uses);
  }

  get running(): boolean {
    return this.#sshd !== undefined;
  }

  /** Fills the folder and opens the SSH port. */
  async start(): Promise<void> {
    const { whole } = this.#options;
    await Promise.all(whole.models.map((name) => writeModel(join(this.home, 'share', name), name)));
    rmSync(this.#root, { recursive: true, force: true });
    this.#written.clear(); // Written with the first command: 64 hosts that nobody asks need no 20,000 files.
    await this.refreshBin();
    await this.#openSshd();
  }

  /** Power off: every process and container dies, connections are reset, the disk stays. `start` is the next boot. */
  async stop(): Promise<void> {
    const pids = new Set(await this.processes());
    await this.shutDown();
    await killProcesses(this.#options.dir);
    await removeRunFolders(pids);
    this.#bootId = randomUUID();
    this.#cut = false;
    this.docker = this.#newDocker();
  }

  /** As `stop`, but processes are left to the caller, who can look through /proc once for many hosts. */
  async shutDown(): Promise<void> {
    await this.#sshd?.close();
    this.#sshd = undefined;
    await this.docker.powerOff();
    this.#uses = [];
  }

  /** Off and on again: another boot id, containers exited, files as they were. */
  async reboot(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** The Docker engine ends as its service is stopped: containers end as by `docker stop`, and clients find no daemon. */
  async stopDocker(): Promise<void> {
    await this.docker.shutDown();
    await this.change({ ...this.#scenario, docker: { ...this.#scenario.docker, state: 'stopped' } });
  }

  async startDocker(): Promise<void> {
    this.docker = this.#newDocker();
    await this.change({ ...this.#scenario, docker: { ...this.#scenario.docker, state: 'running' } });
  }

  /** The SSH server is killed: connections are reset and refused; what runs on the host lives on. */
  async stopSshd(): Promise<void> {
    await this.#sshd?.close();
    this.#sshd = undefined;
  }

  async startSshd(): Promise<void> {
    if (!this.#sshd) await this.#openSshd();
  }

  /**
   * The network is cut: packets to and from the host are neither answered nor refused. SSH connections stall; engines in
   * containers are stopped meanwhile, which to everybody else is the same. What else listens on the host still answers.
   */
  cutNetwork(): void {
    this.#cut = true;
    this.#sshd?.cut();
    for (const { unit } of this.docker.containers.values()) unit?.signal('SIGSTOP');
  }

  mendNetwork(): void {
    this.#cut = false;
    for (const { unit } of this.docker.containers.values()) unit?.signal('SIGCONT');
    this.#sshd?.mend();
  }

  /** From now on every command line begins so many milliseconds later than it was sent. */
  setLatency(ms: number): void {
    this.#latencyMs = ms;
  }

  /** Changes what the machine is while it runs; a change of address or port shows after the next start. */
  async change(scenario: HostScenario): Promise<void> {
    this.#scenario = scenario;
    this.#writeFiles();
    await this.refreshBin();
  }

  /** To be called when faults changed: real commands ask only where a fault may meet them. */
  async refreshBin(): Promise<void> {
    const { faults, whole, tools } = this.#options;
    await fillBin({
      bin: this.#bin,
      home: this.home,
      root: this.#root,
      toolPort: tools.port,
      token: this.#token,
      simulated: SIMULATED,
      askAlways: whole.countAll || faults.watches(this.#scenario.name),
    });
    await dropFromBin(this.#bin, this.#absent());
  }

  counts(): HostCounts {
    return {
      commands: Object.fromEntries([...this.#commands].toSorted(([one], [other]) => one.localeCompare(other))),
      logins: this.#logins,
      containersCreated: this.docker.counts.created,
      containersByName: { ...this.docker.counts.byName },
      containersStarted: this.docker.counts.started,
      imagesPulled: this.docker.counts.pulled,
      enginesStarted: this.#engines,
    };
  }

  /** Files under the home, "path size", folders with a slash. */
  async files(): Promise<string[]> {
    const rows = await readdir(this.home, { recursive: true, withFileTypes: true });
    const lines = await Promise.all(
      rows.map(async (row) => {
        const path = join(row.parentPath, row.name);
        const shown = path.slice(this.home.length + 1);
        return row.isDirectory()
          ? `${shown}/`
          : `${shown} ${await stat(path).then(
              ({ size }) => size,
              () => 0,
            )}`;
      }),
    );
    return lines.toSorted();
  }

  /** Real processes of the host. */
  processes = () => processesOf(this.#options.dir);

  #newDocker(): DockerEngine {
    const { dir, whole } = this.#options;
    return new DockerEngine({
      dir: join(dir, 'docker'),
      host: this.#scenario.name,
      catalogue: whole.images,
      images: this.#scenario.images,
      counts: this.#dockerCounts,
      startUnit: async (start) => {
        const unit = await this.#startUnit(start);
        if (this.#cut) unit?.signal('SIGSTOP');
        return unit;
      },
      resolvePath: (path) => this.#resolvePath(path),
    });
  }

  async #openSshd(): Promise<void> {
    const { hostKey, clientKey, faults } = this.#options;
    const { name, address, port, user, maxSessions, forwarding } = this.#scenario;
    this.#sshd = await startSshd({
      address,
      port,
      user,
      hostKey,
      clientKey,
      maxSessions,
      forwarding,
      home: this.home,
      env: this.#env(),
      fault: () => faults.ssh(name),
      latencyMs: () => this.#latencyMs,
      ran: () => {
        this.#logins += 1;
        if (this.#written.size === 0) this.#writeFiles();
      },
    });
    if (this.#cut) this.#sshd.cut();
  }

  #env = (): Readonly<Record<string, string>> => ({
    HOME: this.home,
    USER: this.#scenario.user,
    LOGNAME: this.#scenario.user,
    SHELL: '/bin/sh',
    PATH: this.#bin,
  });

  #absent(): string[] {
    const { docker: engine, amdSmi } = this.#scenario;
    return [...(engine.state === 'absent' ? ['docker'] : []), ...(amdSmi === 'absent' ? ['amd-smi'] : [])];
  }

  /** Where a path of the simulated host lies on this machine. */
  #resolvePath(path: string): string {
    const own = path === this.home || path.startsWith(`${this.home}/`) || path.startsWith('/tmp/');
    return own ? path : join(this.#root, path);
  }

  /** Brings the files outside the home to what the machine is now. */
  #writeFiles(): void {
    const files = machineFiles(this.machine());
    const folders = new Set<string>();
    for (const path of this.#written.keys()) {
      if (!files.has(path)) rmSync(join(this.#root, path), { force: true });
    }
    for (const [path, file] of files) {
      const key = JSON.stringify(file);
      if (this.#written.get(path) !== key) put(join(this.#root, path), file, folders);
      this.#written.set(path, key);
    }
    for (const path of this.#written.keys()) if (!files.has(path)) this.#written.delete(path);
  }

  async #answer(call: ToolCall): Promise<ToolEnd> {
    const [name = ''] = call.argv;
    this.#commands.set(name, (this.#commands.get(name) ?? 0) + 1);
    this.calls.push(call.argv);
    if (this.calls.length > CALLS_KEPT) this.calls.shift();
    const fault = this.#options.faults.command(this.#scenario.name, call.argv);
    if (fault) return this.#faulty(fault, call);
    return this.#run(call);
  }

  async #faulty(fault: CommandFault, call: ToolCall): Promise<ToolEnd> {
    switch (fault.does) {
      case 'fails':
        call.stdout(fault.stdout);
        call.stderr(fault.stderr);
        return fault.exitCode;
      case 'printsRubbish':
        call.stdout(fault.stdout);
        return 0;
      case 'dies':
        return 'killed';
      case 'diesAfter':
        await this.#run({ ...call, stdout: () => {}, stderr: () => {} });
        return 'killed';
      case 'hangs':
        await aborted(call.signal);
        return 255;
      case 'answersLate':
        await Promise.race([new Promise((resolve) => setTimeout(resolve, fault.afterMs)), aborted(call.signal)]);
        return call.signal.aborted ? 255 : this.#run(call);
    }
  }

  async #run(call: ToolCall): Promise<ToolEnd> {
    const [name = '', ...args] = call.argv;
    if (name === 'amd-smi' && this.#scenario.amdSmi === 'hangs') {
      await aborted(call.signal);
      return 255;
    }
    const tool =
      name === 'df'
        ? df(
            (path) =>
              path === '/' ||
              existsSync(this.#resolvePath(join('/', path.startsWith('/') ? path : join(call.cwd, path)))),
          )
        : TOOLS[name];
    if (tool) {
      const { stdout, stderr, exitCode } = tool(this.machine(), args);
      call.stdout(stdout);
      call.stderr(stderr);
      return exitCode;
    }
    switch (name) {
      case 'docker':
        return docker(
          {
            engine: this.docker,
            scenario: this.#scenario,
            catalogue: this.#options.whole.images,
            resolvePath: (path) => this.#resolvePath(path),
            exec: (container, argv, { stdout, stderr, signal }) =>
              this.#exec(argv, (path) => hostPath(container.config, path), { stdout, stderr, signal }),
          },
          { args, env: call.env, stdin: call.stdin, signal: call.signal, stdout: call.stdout, stderr: call.stderr },
        );
      case 'ib_write_bw':
        return this.#options.tests.run(this.machine(), call);
      case 'ss':
        return ss(
          args,
          await listeningOn(new Set([this.#scenario.address, this.#scenario.fabricAddress ?? this.#scenario.address])),
          call,
        );
      case 'ps':
        return ps(args, await this.processes(), programPath('ps'), call);
      case 'sudo':
        return sudo(args, call.stdin, this.#scenario, call);
      case 'python3':
      case 'python':
      case 'sglang':
        return this.#python(call);
      default:
        return { run: [] }; // A real command that was asked about.
    }
  }

  /** An engine as a real process, or the real Python. The process keeps the pid of the script. */
  #python(call: ToolCall): ToolEnd {
    const args = engineArgs(call.argv);
    if (!args) {
      const { python } = this.#options;
      if (python !== undefined && call.argv[0] !== 'sglang') return { run: [python, ...call.argv.slice(1)] };
      call.stderr(`${call.argv[0]}: command not found\n`);
      return 127;
    }
    const machine = this.machine();
    const demand = engineDemand(args, call.env, machine);
    const obstacle = engineObstacle(demand, machine, true);
    if (obstacle !== undefined) {
      call.stderr(`${obstacle}\n`);
      return 1;
    }
    const fault = this.#options.faults.engine(this.#scenario.name, call.argv);
    const extras = engineExtras(demand, machine, {
      timing: this.#options.whole.timing,
      fault,
      version: this.#scenario.sglang,
      image: undefined,
    });
    this.#engines += 1;
    this.#use(engineUse(demand, machine, call.pid));
    return { run: [...this.#options.engineCommand, ...args], env: { TANDEM_SIM_ENGINE: JSON.stringify(extras) } };
  }

  async #startUnit(start: UnitStart): Promise<Unit | undefined> {
    const args = engineArgs(start.argv);
    if (!args) return this.#startChild(start);
    const machine = this.machine();
    const demand = engineDemand(args, start.env, machine);
    const obstacle = engineObstacle(demand, machine, start.devicesMapped);
    const pid = (this.#pid += 1);
    if (obstacle !== undefined) {
      start.log('stderr', `${obstacle}\n`);
      return { pid, exited: Promise.resolve(1), signal: () => {} };
    }
    const { whole, faults } = this.#options;
    const image = whole.images.find(({ reference }) => reference === start.imageReference);
    const fault = faults.engine(this.#scenario.name, [start.name, ...start.argv]);
    const extras = engineExtras(demand, machine, {
      timing: whole.timing,
      fault,
      version: image?.sglang ?? versionInTag(start.imageReference),
      image: image?.generation,
    });
    this.#engines += 1;
    this.#use(engineUse(demand, machine, pid));
    const engine = await startEngine({
      ...extras,
      argv: args,
      env: start.env,
      resolvePath: start.resolvePath,
      log: (line) => start.log('stdout', `${line}\n`),
    });
    const exited = engine.exited.then((code) => {
      this.#uses = this.#uses.filter((use) => use.pid !== pid);
      this.#writeFiles();
      return code;
    });
    let killedByUs = false;
    return {
      pid,
      exited,
      killedForMemory: () => fault?.engine.killedWhileLoading === true && !killedByUs,
      signal: (name) => {
        killedByUs ||= name === 'SIGKILL';
        engine.signal(name === 'SIGINT' ? 'SIGTERM' : name);
      },
    };
  }

  #use(use: GpuUse): void {
    this.#uses.push(use);
    this.#writeFiles();
  }

  /** Any other program of a container: a real process with the host's PATH and the container's environment. */
  #startChild({ argv, env, resolvePath, log }: UnitStart): Unit | undefined {
    const program = this.#program(argv[0]!);
    if (program === undefined) return undefined;
    return startChild([program, ...argv.slice(1).map((word) => this.#mapped(word, resolvePath))], {
      cwd: this.home,
      env: { ...this.#env(), ...env, PATH: this.#bin },
      log,
    });
  }

  async #exec(
    argv: readonly string[],
    inside: (path: string) => string | undefined,
    { stdout, stderr, signal }: Pick<ToolCall, 'stdout' | 'stderr' | 'signal'>,
  ): Promise<number | undefined> {
    const program = this.#program(argv[0]!);
    if (program === undefined) return undefined;
    const words = argv.slice(1).map((word) => (word.startsWith('/') ? (inside(word) ?? word) : word));
    const unit = startChild([program, ...words], {
      cwd: this.home,
      env: this.#env(),
      log: (stream, text) => (stream === 'stdout' ? stdout : stderr)(text),
    });
    signal.addEventListener('abort', () => unit.signal('SIGKILL'));
    return unit.exited;
  }

  /** A program that the host has and that a container may have too. */
  #program(word: string): string | undefined {
    const name = word.replace(/^\/(?:usr\/)?bin\//, '');
    if (/^python3?$/.test(name)) return this.#options.python;
    const path = join(this.#bin, name);
    return /^[\w.[-]+$/.test(name) && !SIMULATED.includes(name) && existsSync(path) ? path : undefined;
  }

  /** Words that are paths under a mount are where the mount's source is; others are the program's own business. */
  #mapped(word: string, resolvePath: (path: string) => string): string {
    if (!word.startsWith('/')) return word;
    const path = resolvePath(word);
    return path.startsWith(this.home) ? path : word;
  }
}

const SIMULATED = [
  ...Object.keys(TOOLS),
  'df',
  'docker',
  'ib_write_bw',
  'ss',
  'ps',
  'sudo',
  'python3',
  'python',
  'sglang',
];

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });

/** `made`: folders that are there already. */
function put(path: string, file: MachineFile, made: Set<string>): void {
  const folder = dirname(path);
  if (!made.has(folder)) mkdirSync(folder, { recursive: true });
  made.add(folder);
  if (typeof file === 'string') return writeFileSync(path, file);
  rmSync(path, { force: true });
  symlinkSync(file.link, path);
}
