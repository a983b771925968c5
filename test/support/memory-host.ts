import { NetworkError } from '../../src/drivers/fetch.ts';
import {
  LABELS,
  type Command,
  type FetchInit,
  type Host,
  type KeptLog,
  type KeptLogs,
  type LoggedUnit,
  type LeaseOwner,
  type Leases,
  type Output,
  type Runtime,
  type UnitSpec,
  type UnitState,
} from '../../src/drivers/types.ts';
import { MARK } from '../../src/drivers/weights/files.ts';
import { DeployError } from '../../src/errors.ts';
import { diskFree } from '../../src/facts/disk-free.ts';
import { hostQuestions } from '../../src/facts/host-facts.ts';
import type { HostPicture, Kept, PictureScope, Thing } from '../../src/facts/host-picture.ts';
import type { HostRef } from '../../src/plan/types.ts';
import { healthyOutputs, notInstalled } from './host-outputs.ts';
import { answerHttp, type Listed } from './memory-http.ts';
import { raw, type Raw } from '../../src/text/raw.ts';
import type { ToolOutput } from '../../src/facts/fact.ts';

const HOME = '/home/ops';
/** Amounts that tests compare and nothing measures. */
const WEIGHTS_BYTES = 2 ** 30;
const IMAGE_BYTES = 20 * 2 ** 30;
const USED_MIB = 150_000;
const IDLE_MIB = 283;

/** A container or named job, as its host holds it. */
export interface MemoryUnit extends UnitSpec {
  readonly kind: Runtime['kind'];
  running: boolean;
  exitCode?: number;
  pid: number;
  startedAt: string;
  log: string;
  /** Engines: requests since it was made. */
  requests: number;
  /** Routers: engines by id; lost when it ends. */
  readonly listed: Map<string, Listed>;
}

type Lease = LeaseOwner & { readonly takenAt: string };

/** Everything that is on one host. Tests read it, and may change it as a person with a shell would. */
export interface MemoryHost {
  readonly name: string;
  readonly address: string;
  readonly gpus: number;
  readonly units: Map<string, MemoryUnit>;
  readonly leases: Map<string, Lease>;
  /** Logs that outlived their units, by path. */
  readonly logs: Map<string, { readonly unit: LoggedUnit; readonly text: string }>;
  /** Content by path. */
  readonly files: Map<string, string>;
  readonly folders: Set<string>;
  /** Image id by reference. */
  readonly images: Map<string, string>;
  /** Bytes of complete weights by path. */
  readonly weights: Map<string, number>;
  /** Weights that are being copied, or of which a copy ended half-way. */
  readonly partial: Set<string>;
  /** What every tool prints instead of its answer, by the name of the fact; nothing on a host that is well. */
  rubbish?: (fact: string) => string;
}

export const memoryHost = (name: string, address: string, gpus: number): MemoryHost => ({
  name,
  address,
  gpus,
  units: new Map(),
  leases: new Map(),
  logs: new Map(),
  files: new Map(),
  folders: new Set(),
  images: new Map(),
  weights: new Map(),
  partial: new Set(),
});

/** What a host needs of the site it is part of. */
export interface Surroundings {
  readonly hosts: ReadonlyMap<string, MemoryHost>;
  /** Passes every call of a driver: where faults happen, and where begin and end are written down. */
  through<T>(
    call: { readonly host: string; readonly method: string; readonly changes: boolean },
    signal: AbortSignal | undefined,
    act: () => T | Promise<T>,
  ): Promise<T>;
  pid(): number;
  /** Halves of requests that wait for their other half, by room. */
  readonly rooms: Map<string, (met: void) => void>;
}

/** The interface of the real driver over a host that is only state. It refuses every command that it does not know. */
export function hostDriver(
  site: Surroundings,
  at: MemoryHost,
  ref: HostRef,
  signal: AbortSignal | undefined,
): Host & { picture(scope: PictureScope): Promise<HostPicture> } {
  const through = <T>(method: string, changes: boolean, act: () => T | Promise<T>) =>
    site.through({ host: at.name, method, changes }, signal, act);
  const run = (command: Command) =>
    through(`run ${command.argv[0]}`, changesOf(command.argv), () => outputOf(at, command));
  return {
    ref,
    run,
    runAll: (commands) =>
      through(
        `run ${commands.map(({ argv }) => argv[0]).join(' ')}`,
        commands.some(({ argv }) => changesOf(argv)),
        () => commands.map((command) => outputOf(at, command)),
      ),
    async must(command) {
      const { exitCode, stdout, stderr } = await run(command);
      if (exitCode !== 0) throw commandFailed(at, command.argv.join(' '), stderr);
      return stdout;
    },
    writeFile: (path, content) =>
      through('writeFile', true, () => {
        for (const folder of foldersOf(path)) at.folders.add(folder);
        at.files.set(path, content);
      }),
    expand: async (path) => path.replace(/^~(?=\/|$)/, HOME),
    runtime: (kind) => runtimeOf(site, at, kind, through),
    leases: leasesOf(at, through),
    keptLogs: keptLogsOf(at, through),
    fetch: (url, init) => fetchFrom(site, through, url, init),
    picture: (scope) => through('picture', false, () => pictureIn(at, scope)),
  };
}

type Through = <T>(method: string, changes: boolean, act: () => T | Promise<T>) => Promise<T>;

// ---- Commands

const CHANGING = new Set(['rm', 'rmdir']);
const changesOf = ([program, verb]: readonly string[]) =>
  CHANGING.has(program!) || (program === 'docker' && verb === 'pull');

const output = (stdout = '', exitCode = 0, stderr = ''): Output =>
  outputOfTool({ stdout, stderr, exitCode, timedOut: false });
const outputOfTool = ({ stdout, stderr, ...rest }: ToolOutput): Output => ({
  ...rest,
  stdout: raw(stdout),
  stderr: raw(stderr),
});

function outputOf(at: MemoryHost, { argv }: Command): Output {
  const asked = JSON.stringify(argv);
  const question = hostQuestions({}).find((one) => JSON.stringify(one.argv) === asked)?.name;
  if (question !== undefined && at.rubbish) return output(at.rubbish(question));
  if (question !== undefined) return outputOfTool(factsOf(at)[question] ?? notInstalled);
  const [program, ...rest] = argv;
  const last = argv.at(-1)!;
  switch (program) {
    case 'df': // Of a folder and all that it is in.
      return outputOfTool(factsOf(at)[diskFree.name]!);
    case 'date':
      return output(`${Math.floor(Date.now() / 1000)}\n`);
    case 'test':
      if (rest[0] === '-s') return output('', isThere(at, last) ? 0 : 1);
      break;
    case 'rm':
      if (rest[0] === '-rf') return removed(at, rest.slice(2));
      break;
    case 'rmdir':
      return removedIfEmpty(at, last);
    case 'ib_write_bw':
      return output(
        ' #bytes #iterations BW peak[Gb/sec] BW average[Gb/sec] MsgRate[Mpps]\n 65536 9 0.00 391.00 0.7458\n',
      );
    case 'docker':
      if (rest[0] === 'image' && rest[1] === 'inspect') return imageOf(at, last);
      if (rest[0] === 'pull') return pulled(at, last);
      if (rest[0] === 'version') return output('28.2.2\n');
      break;
    case 'sh': // The probes of a host's readiness: is a tool there, may a folder be written.
      if (rest[1]?.includes('command -v')) return output(`/usr/bin/${last}\n`);
      if (rest[1]?.includes('[ -w')) return output();
      break;
  }
  throw new Error(`the memory host ${at.name} does not know the command ${asked}`);
}

/** What the tools of a healthy host print, with what runs here in it. */
function factsOf(at: MemoryHost): ReturnType<typeof healthyOutputs> {
  const running = [...at.units.values()].filter((unit) => unit.running);
  const busy = new Set(running.flatMap(({ labels }) => (labels[LABELS.gpus] ?? '').split(',').filter(Boolean)));
  const used = Array.from({ length: at.gpus }, (_, index) => (busy.has(String(index)) ? USED_MIB : IDLE_MIB));
  const listening = running.flatMap((unit) =>
    portsOf(unit).map((port) => `LISTEN 0 128 ${at.address}:${port} 0.0.0.0:*\n`),
  );
  const healthy = healthyOutputs({ count: at.gpus, used });
  return {
    ...healthy,
    'listening-ports': { ...healthy['listening-ports']!, stdout: listening.join('') },
  };
}

const isThere = (at: MemoryHost, path: string): boolean =>
  path.endsWith(`/${MARK}`) ? at.weights.has(path.slice(0, -MARK.length - 1)) : (at.files.get(path) ?? '') !== '';

const isIn = (folder: string) => (path: string) => path === folder || path.startsWith(`${folder}/`);

function removed(at: MemoryHost, folders: readonly string[]): Output {
  for (const folder of folders) {
    for (const path of [...at.files.keys()].filter(isIn(folder))) at.files.delete(path);
    for (const path of [...at.folders].filter(isIn(folder))) at.folders.delete(path);
    for (const path of [...at.weights.keys()].filter(isIn(folder))) at.weights.delete(path);
  }
  return output();
}

function removedIfEmpty(at: MemoryHost, folder: string): Output {
  if (!at.folders.has(folder)) return output('', 1, `rmdir: failed to remove '${folder}': No such file or directory`);
  if ([...at.files.keys(), ...at.folders].some((path) => path !== folder && isIn(folder)(path)))
    return output('', 1, `rmdir: failed to remove '${folder}': Directory not empty`);
  at.folders.delete(folder);
  return output();
}

/** The folders of a path that belong to one deployment: `.tandem/deployments` itself stays on every host. */
function foldersOf(path: string): string[] {
  const parts = path.slice(HOME.length + 1).split('/');
  return parts.slice(2, -1).map((_, index) => `${HOME}/${parts.slice(0, index + 3).join('/')}`);
}

function imageOf(at: MemoryHost, reference: string): Output {
  const id = at.images.get(reference);
  return id === undefined
    ? output('', 1, `Error response from daemon: No such image: ${reference}`)
    : output(`${id}\n`);
}

function pulled(at: MemoryHost, reference: string): Output {
  at.images.set(reference, `sha256:${reference}`);
  return output(`${reference}\n`);
}

const commandFailed = ({ name }: MemoryHost, what: string, evidence: Raw) =>
  new DeployError({
    code: 'COMMAND_FAILED',
    message: `${name}: ${what} failed`,
    remedy: 'Look at the host.',
    retryable: false,
    host: name,
    evidence,
  });

// ---- Containers and named jobs

function runtimeOf(site: Surroundings, at: MemoryHost, kind: Runtime['kind'], through: Through): Runtime {
  const known = (name: string) => {
    const unit = at.units.get(name);
    return unit?.kind === kind ? unit : undefined;
  };
  return {
    kind,
    start: (unit) =>
      through('start', true, () => {
        const found = known(unit.name);
        if (found) return attached(at, found, unit);
        const image = unit.container && (unit.container.imageId ?? unit.container.image);
        if (image !== undefined && ![...at.images].some((names) => names.includes(image)))
          throw commandFailed(at, `docker run ${image}`, raw('No such image'));
        const made = unitOf(unit, kind);
        at.units.set(unit.name, made);
        begin(site, at, made);
        return stateOf(made);
      }),
    find: (labels) =>
      through('find', false, () =>
        [...at.units.values()]
          .filter((unit) => unit.kind === kind)
          .filter((unit) => Object.entries(labels).every(([key, value]) => unit.labels[key] === value))
          .map(stateOf),
      ),
    stop: (name) =>
      through('stop', true, () => {
        const unit = known(name);
        if (unit?.running) end(unit);
      }),
    restart: (name) =>
      through('restart', true, () => {
        const unit = known(name);
        if (!unit) throw commandFailed(at, `restarting ${name}`, raw('no such unit'));
        if (!unit.running) begin(site, at, unit);
      }),
    remove: (name) =>
      through('remove', true, () => {
        if (known(name)) at.units.delete(name);
      }),
    logs: (name) => through('logs', false, () => raw(known(name)?.log ?? '')),
  };
}

const unitOf = (unit: UnitSpec, kind: Runtime['kind']): MemoryUnit => ({
  ...unit,
  kind,
  running: false,
  pid: 0,
  startedAt: '',
  log: '',
  requests: 0,
  listed: new Map(),
});

function attached({ name: host }: MemoryHost, found: MemoryUnit, { name, labels }: UnitSpec): UnitState {
  if (Object.entries(labels).every(([key, value]) => found.labels[key] === value)) return stateOf(found);
  throw new DeployError({
    code: 'NAME_CONFLICT',
    message: `${host}: a unit ${name} is there with other labels`,
    remedy: 'Remove it.',
    retryable: false,
    host,
  });
}

/** A program whose port is taken ends at once. */
function begin(site: Surroundings, at: MemoryHost, unit: MemoryUnit): void {
  const taken = [...at.units.values()].filter((other) => other !== unit && other.running).flatMap(portsOf);
  const clash = portsOf(unit).find((port) => taken.includes(port));
  unit.pid = site.pid();
  unit.startedAt = new Date().toISOString();
  unit.running = clash === undefined;
  unit.log = clash === undefined ? 'The server is fired up and ready to roll!' : `[Errno 98] port ${clash} is in use`;
  if (clash !== undefined) unit.exitCode = 1;
  else delete unit.exitCode;
}

function end(unit: MemoryUnit): void {
  unit.running = false;
  unit.exitCode = 0;
  unit.listed.clear();
}

const stateOf = ({ name, labels, running, exitCode, startedAt, pid, argv, container }: MemoryUnit): UnitState => ({
  name,
  labels,
  running,
  ...(exitCode === undefined ? {} : { exitCode }),
  startedAt,
  ...(running ? { pid } : {}),
  ...(container ? { imageId: container.imageId ?? `sha256:${container.image}` } : {}),
  argv,
});

/** The value of a flag of a command line. */
export const flagOf = (argv: readonly string[], name: string): string | undefined =>
  argv.includes(`--${name}`) ? argv[argv.indexOf(`--${name}`) + 1] : undefined;

/** The ports that a unit listens on while it runs; ranks above 0 only join where rank 0 waits for them. */
export function portsOf({ argv }: Pick<MemoryUnit, 'argv'>): readonly number[] {
  const meeting = flagOf(argv, 'node-rank') === '0' ? flagOf(argv, 'dist-init-addr') : undefined;
  const ports = ['port', 'disaggregation-bootstrap-port', 'prometheus-port'].map((flag) => flagOf(argv, flag));
  return [...ports, meeting?.slice(meeting.lastIndexOf(':') + 1)].filter((port) => port !== undefined).map(Number);
}

// ---- Leases

function leasesOf(at: MemoryHost, through: Through): Leases {
  return {
    list: () => through('leases.list', false, () => [...at.leases].map(([pci, lease]) => ({ pci, ...lease }))),
    take: (pci, owner) =>
      through('leases.take', true, () => {
        const held = pci.find((one) => {
          const lease = at.leases.get(one);
          return lease && !(lease.cluster === owner.cluster && lease.installation === owner.installation);
        });
        if (held !== undefined) throw leaseHeld(at, held);
        const takenAt = new Date().toISOString();
        for (const one of pci) if (!at.leases.has(one)) at.leases.set(one, { ...owner, takenAt });
      }),
    release: (pci, owner) =>
      through('leases.release', true, () => {
        for (const one of pci) {
          const lease = at.leases.get(one);
          if (
            lease?.cluster === owner.cluster &&
            lease.installation === owner.installation &&
            (owner.deployment === undefined || lease.deployment === owner.deployment)
          )
            at.leases.delete(one);
        }
      }),
    breakHeld: (seen) =>
      through('leases.breakHeld', true, () =>
        seen.filter(({ pci, takenAt }) => at.leases.get(pci)?.takenAt === takenAt && at.leases.delete(pci)),
      ),
  };
}

// ---- Logs that outlive their units

/** Without limits: a host forgets none. */
function keptLogsOf(at: MemoryHost, through: Through): KeptLogs {
  const pathOf = ({ cluster, deployment, name }: LoggedUnit) =>
    `${HOME}/.tandem/logs/${cluster}-${deployment}/${name}.log`;
  return {
    keep: (unit, text) =>
      through('keptLogs.keep', true, () => {
        const { cluster, deployment, name } = unit;
        at.logs.set(pathOf(unit), { unit: { cluster, deployment, name }, text });
        return pathOf(unit);
      }),
    list: (cluster) =>
      through('keptLogs.list', false, () =>
        [...at.logs]
          .filter(([, { unit }]) => unit.cluster === cluster)
          .map(([path, { unit, text }]): KeptLog => ({ ...unit, path, bytes: text.length })),
      ),
    read: (unit) => through('keptLogs.read', false, () => raw(at.logs.get(pathOf(unit))!.text)),
    drop: (cluster) =>
      through('keptLogs.drop', true, () => {
        for (const [path, { unit }] of at.logs) if (unit.cluster === cluster) at.logs.delete(path);
      }),
  };
}

const leaseHeld = ({ name, leases }: MemoryHost, pci: string) =>
  new DeployError({
    code: 'LEASE_HELD',
    message: `${name}: GPU ${pci} is leased by cluster ${leases.get(pci)!.cluster}`,
    remedy: 'Use other GPUs.',
    retryable: false,
    host: name,
  });

// ---- HTTP

/** Every host reaches every other. Looking changes nothing; a router is told what to list by other methods. */
function fetchFrom(site: Surroundings, through: Through, url: string, init: FetchInit = { timeoutMs: 0 }) {
  const { hostname, port, pathname } = new URL(url);
  const { method = 'GET' } = init;
  const changes = method !== 'GET' && pathname.startsWith('/workers');
  return through(`${method} ${pathname}`, changes, async () => {
    const at = [...site.hosts.values()].find(({ address }) => address === hostname);
    const unit = [...(at?.units.values() ?? [])].find((one) => one.running && portsOf(one).includes(Number(port)));
    if (!unit) throw new NetworkError('ECONNREFUSED', url, 'connection refused');
    return await answerHttp(site, unit, { method, path: pathname, body: init.body ?? '', signal: init.signal });
  });
}

/** HTTP from the Temporal worker: to a router of others, which `addRouter` puts there. */
export const externalFetch = (site: Surroundings, url: string, init?: FetchInit) =>
  fetchFrom(site, (method, changes, act) => site.through({ host: '', method, changes }, init?.signal, act), url, init);

/** Somebody else's router. */
export function addRouter(site: Surroundings, at: MemoryHost, port: number): void {
  const argv = ['smg', '--port', String(port)];
  const unit = unitOf({ name: 'router-of-others', labels: {}, argv, env: {}, stopTimeoutSeconds: 30 }, 'process');
  at.units.set(unit.name, unit);
  begin(site, at, unit);
}

// ---- Weights

/** Begins a copy: its job, and a folder that is not complete. */
export function beginCopy(site: Surroundings, at: MemoryHost, unit: UnitSpec, path: string): void {
  const job = at.units.get(unit.name);
  at.partial.add(path);
  if (job) return;
  const made = unitOf(unit, 'process');
  at.units.set(unit.name, made);
  begin(site, at, made);
}

export function endCopy(at: MemoryHost, job: string, partial: string, path: string): void {
  at.units.delete(job);
  at.partial.delete(partial);
  at.weights.set(path, WEIGHTS_BYTES);
}

// ---- Pictures

type Things = Partial<Record<Thing, readonly string[]>>;

/** Everything that Tandem could leave on a host, whoever's; pids and times are left out. */
export function thingsOn(at: MemoryHost): Things {
  const units = [...at.units.values()];
  const running = units.filter((unit) => unit.running);
  const state = (unit: MemoryUnit) => `${unit.name} ${unit.running ? 'runs' : 'ended'}`;
  return things({
    container: units.filter(({ kind }) => kind === 'docker').map(state),
    job: units.filter(({ kind }) => kind === 'process').map(state),
    process: running.map(({ name }) => `of ${name}`),
    file: [...at.files.keys(), ...at.folders, ...at.partial],
    port: running.flatMap((unit) => portsOf(unit).map((port) => `${at.address}:${port}`)),
    lease: [...at.leases].map(
      ([pci, { cluster, installation, deployment }]) => `${pci} ${cluster} ${installation} ${deployment}`,
    ),
    'router-entry': running.flatMap(({ listed }) =>
      [...listed.values()].map(({ url, role, pairingKey = '' }) => `${url} ${role} ${pairingKey}`),
    ),
  });
}

/** Images and complete weights, which undo and destroy leave as a cache, and logs of what an undo removed. */
export const keptOn = (at: MemoryHost): readonly Kept[] => [
  ...[...at.logs].map(([what, { text }]) => ({ kind: 'log' as const, what, bytes: text.length })),
  ...[...at.images.keys()].map((what) => ({ kind: 'image' as const, what, bytes: IMAGE_BYTES })),
  ...[...at.weights].map(([what, bytes]) => ({ kind: 'weights' as const, what, bytes })),
];

/** As the real driver's: of one cluster, strangers and the router's list left out. */
function pictureIn(at: MemoryHost, { cluster, installation, ports, modelPath, images }: PictureScope): HostPicture {
  const path = modelPath.replace(/^~/, HOME);
  const mine = memoryHost(at.name, at.address, at.gpus);
  for (const unit of at.units.values()) {
    const ours = unit.labels[LABELS.installation] === installation;
    if (ours && [unit.labels[LABELS.cluster], unit.labels['tandem.weights']].includes(cluster))
      mine.units.set(unit.name, unit);
  }
  for (const [pci, lease] of at.leases)
    if (lease.cluster === cluster && lease.installation === installation) mine.leases.set(pci, lease);
  const ofCluster = (name: string) =>
    name.includes(`/deployments/${cluster}-`) || name.includes(`/jobs/.tandem-${cluster}-`);
  for (const name of [...at.files.keys()].filter(ofCluster)) mine.files.set(name, '');
  for (const name of [...at.folders].filter(ofCluster)) mine.folders.add(name);
  for (const name of at.partial) if (name.startsWith(`${path}.partial-${cluster}-`)) mine.partial.add(name);
  const listening = (thingsOn(at).port ?? []).filter((row) => ports.some((port) => row.endsWith(`:${port}`)));
  const { 'router-entry': _asked, ...seen } = thingsOn(mine);
  return {
    host: at.name,
    things: things({ ...seen, port: listening }),
    kept: keptOn(at).filter(({ kind, what }) =>
      kind === 'image'
        ? images.includes(what)
        : kind === 'log'
          ? at.logs.get(what)!.unit.cluster === cluster
          : what === path,
    ),
  };
}

const things = (rows: Things): Things =>
  Object.fromEntries(
    Object.entries(rows).flatMap(([kind, found]) => (found.length > 0 ? [[kind, [...found].toSorted()]] : [])),
  );
