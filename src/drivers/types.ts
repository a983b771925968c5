import type { HostPicture, PictureScope } from '../facts/host-picture.ts';
import type { HeldLease, ContainerPlan, HostRef, Lease } from '../plan/types.ts';
import type { SecretRef } from '../spec/schema.ts';
import type { Raw } from '../text/raw.ts';

/**
 * The interface between activities and the world. The real one is OpenSSH (`ssh/`); tests put others behind it.
 * Every method throws `DeployError` for what can happen and ends the remote work before it rejects on abort.
 */
export interface Drivers {
  /** A host, its calls bound to `signal`. Cheap: connections are shared underneath, one master per host. */
  host(ref: HostRef, signal?: AbortSignal, options?: HostOptions): Host;
  /** The value of a secret on this Temporal worker. Errors: SECRET_MISSING, naming this machine. */
  secret(ref: SecretRef): Promise<string>;
  /** HTTP straight from the Temporal worker: an external router, a model hub. */
  readonly fetch: Fetch;
  /** Ends every master and forward. */
  close(): Promise<void>;
}

export interface HostOptions {
  /** Commands that are asked for at the same time go in one round trip, and each is answered when all of it are over. */
  readonly together?: boolean;
}

export type Fetch = (url: string, init?: FetchInit) => Promise<Response>;

export interface FetchInit {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Limit until the response is complete, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Host {
  readonly ref: HostRef;
  /** Runs one command. A non-zero exit is an output, not an error. Errors: HOST_*, COMMAND_TIMEOUT. */
  run(command: Command): Promise<Output>;
  /** Runs commands in one round trip, in order or side by side; each has its own limit and output, and a time-out is an output too. */
  runAll(commands: readonly Command[], options?: { readonly parallel?: boolean }): Promise<Output[]>;
  /** As `run`, and a non-zero exit is COMMAND_FAILED with what it said as evidence. Returns stdout. */
  must(command: Command): Promise<Raw>;
  /** Writes a file whole: aside, then renamed; folders are made. `content` never shows in a process list. */
  writeFile(path: string, content: string, options?: { readonly mode?: number }): Promise<void>;
  /** "~/x" → "/home/ops/x", by the home of the SSH user. */
  expand(path: string): Promise<string>;
  runtime(kind: 'docker' | 'process'): Runtime;
  readonly leases: Leases;
  readonly keptLogs: KeptLogs;
  /**
   * Everything of one cluster that Tandem could have left here; changes nothing. What cannot be read is an error, never
   * an empty picture. Errors: HOST_*, COMMAND_TIMEOUT, COMMAND_FAILED, WEIGHTS_CORRUPT for a mark that says nothing.
   */
  picture(scope: PictureScope): Promise<HostPicture>;
  /** HTTP from the host's own network, by a forward through its master (curl on the host where forwarding is off). */
  readonly fetch: Fetch;
}

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  readonly timeoutMs: number;
}

export interface Output {
  readonly stdout: Raw;
  readonly stderr: Raw;
  /** 0–255; 128 + signal when a signal ended it. */
  readonly exitCode: number;
  /** The limit passed and the process group was ended. */
  readonly timedOut: boolean;
  /** Only the first part of stdout or stderr was kept: it was longer than the driver's limit (4 MiB each). */
  readonly truncated?: boolean;
}

/** What takes longer than a minute: a container, or a named job (a folder under stateDir/jobs with pid, output and exit code). */
export interface Runtime {
  readonly kind: 'docker' | 'process';
  /**
   * Starts a unit, or finds the one of this name with the same labels: a repeat never starts a second. A unit of this
   * name with other labels is NAME_CONFLICT. Returns once it is started, not once it is ready.
   */
  start(unit: UnitSpec): Promise<UnitState>;
  /** Units that have all these labels, ended ones included. */
  find(labels: Readonly<Record<string, string>>): Promise<readonly UnitState[]>;
  /** TERM, then KILL after the limit; the unit stays and can be started again. Gone or ended already is fine. */
  stop(name: string, options: { readonly timeoutSeconds: number }): Promise<void>;
  /** Starts a stopped unit as it was. Running already is fine. */
  restart(name: string): Promise<void>;
  /** Forgets a unit, ended or not. Gone already is fine. */
  remove(name: string): Promise<void>;
  /** The last lines of stdout and stderr together, in the order they were written; fewer where they are very long. */
  logs(name: string, options: { readonly tailLines: number }): Promise<Raw>;
}

export interface UnitSpec {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stopTimeoutSeconds: number;
  /** Only for docker. */
  readonly container?: ContainerPlan & { readonly imageId?: string };
}

export interface UnitState {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly running: boolean;
  /** Of an ended unit. 137 is SIGKILL, as by the OOM killer. */
  readonly exitCode?: number;
  readonly oomKilled?: boolean;
  /** ISO 8601. */
  readonly startedAt?: string;
  readonly pid?: number;
  /** Docker: the image id the container was made from. */
  readonly imageId?: string;
  /** Program and arguments, as the runtime holds them. */
  readonly argv: readonly string[];
}

/** GPU leases of all teams on one host: one file per GPU, put there by ln, no expiry. */
export interface Leases {
  list(): Promise<readonly HeldLease[]>;
  /** Takes all of `pci` in the given order, or none. Own leases count as taken. Errors: LEASE_HELD naming the holder, LEASE_DIR_MISSING with the command for the administrator. */
  take(pci: readonly string[], owner: LeaseOwner): Promise<void>;
  /** Releases those of `pci` that `owner` holds; of others it touches none. `deployment` undefined releases the owner's of every number. */
  release(
    pci: readonly string[],
    owner: Omit<LeaseOwner, 'deployment'> & { readonly deployment?: number },
  ): Promise<void>;
  /**
   * Removes leases of whoever holds them, as they were seen; those that changed since stay. Each is kept with the note as
   * a line of JSON in `<leaseDir>/.broken`. Returns those that are broken, by this call or by a former one with this note.
   */
  breakHeld(seen: readonly HeldLease[], note: BreakNote): Promise<readonly HeldLease[]>;
}

/**
 * Logs of units that an undo removed, in `stateDir/logs`. A host keeps those of the last ten such deployments and 50 MiB
 * of them, whichever is less: older ones go when another is kept.
 */
export interface KeptLogs {
  /** Keeps the text, in place of an earlier one of the same unit. Returns its path. */
  keep(unit: LoggedUnit, text: string): Promise<string>;
  list(cluster: string): Promise<readonly KeptLog[]>;
  /** The last lines of one. */
  read(unit: LoggedUnit, options: { readonly tailLines: number }): Promise<Raw>;
  /** Deletes all of a cluster. */
  drop(cluster: string): Promise<void>;
}

/** A unit by what names its log. */
export interface LoggedUnit {
  readonly cluster: string;
  readonly deployment: number;
  readonly name: string;
}

export interface KeptLog extends LoggedUnit {
  readonly path: string;
  readonly bytes: number;
}

/** Who breaks leases, when (ISO 8601) and why: kept on the host. */
export interface BreakNote {
  readonly time: string;
  readonly actor: string;
  readonly reason: string;
}

export type LeaseOwner = Pick<Lease, 'cluster' | 'installation' | 'deployment'>;

/** Labels of every container and named job. Values are strings; they never change. */
export const LABELS = {
  cluster: 'tandem.cluster',
  /** engine, router, or weights: a copy, which carries no cluster label since it is no part of what a cluster runs. */
  kind: 'tandem.kind',
  /** prefill, decode or router */
  role: 'tandem.role',
  index: 'tandem.index',
  rank: 'tandem.rank',
  /** The digest of the row of the plan. */
  digest: 'tandem.engine',
  deployment: 'tandem.deployment',
  installation: 'tandem.installation',
  /** GPU indices on that host, "0,1,2". */
  gpus: 'tandem.gpus',
  /** RDMA devices on that host, "bnxt_re0,bnxt_re1". */
  nics: 'tandem.nics',
  url: 'tandem.url',
  /** Engines only: the KV generation that it was started under. */
  generation: 'tandem.generation',
} as const;
