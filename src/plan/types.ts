import type { ClusterSpec, SecretRef } from '../spec/schema.ts';

/** Types of the plan: what the planner reads and what it leaves. All plain JSON; everything here enters event histories. */

export type Role = 'prefill' | 'decode';

/** How to reach a host: all that a driver needs, resolved on the Temporal worker. One row of `plan.hosts`. */
export interface HostRef {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** Address that engines bind and register at. */
  readonly fabricAddress: string;
  readonly hostKey?: string;
  readonly ssh: Pick<
    ClusterSpec['hosts']['ssh'],
    'identityFile' | 'knownHostsFile' | 'jump' | 'become' | 'becomePassword' | 'configFile'
  >;
  readonly stateDir: string;
  readonly leaseDir: string;
}

// ---- What the planner reads: a canonical projection of what the hosts show; no times, no free bytes.

export interface Inventory {
  /** One row per host of the spec, and per host where this cluster still has something. Sorted by name. */
  readonly hosts: readonly HostInventory[];
}

export interface HostInventory {
  readonly host: string;
  /** Sorted by index, which is the index that HIP and SGLang count by. */
  readonly gpus: readonly Gpu[];
  /** RDMA devices, sorted by name. */
  readonly nics: readonly Nic[];
  /** Provider libraries found, by driver: { driver: 'bnxt_re', path: '/usr/lib64/libibverbs/libbnxt_re-rdmav34.so' }. */
  readonly providerLibraries: readonly { readonly driver: string; readonly path: string }[];
  readonly leases: readonly Lease[];
  /** What carries this cluster's label on the host, whoever made it. */
  readonly found: readonly FoundUnit[];
  /** Complete, verified weights: the folders under model.dir that hold a completion mark, "<id>/<revision>". */
  readonly weights: readonly string[];
}

export interface Gpu {
  readonly index: number;
  /** "0000:05:00.0", with "-<partition>" appended for a partition. */
  readonly pci: string;
  /** "MI300X"; "unknown" when it could not be read. */
  readonly product: string;
  readonly numaNode?: number;
}

export interface Nic {
  readonly device: string;
  readonly driver: string;
  readonly up: boolean;
  /** Gigabits per second. Absent when it could not be read. */
  readonly rateGbps?: number;
  /** Index of the RoCE v2 GID with an IPv4-mapped address, or of the only usable one. */
  readonly gidIndex?: number;
  /** The IPv4 address in that GID. */
  readonly address?: string;
  readonly numaNode?: number;
}

/** The content of a lease file, and its name: the PCI address. `time` stays out: it is no reason to plan otherwise. */
export interface Lease {
  readonly pci: string;
  readonly cluster: string;
  readonly installation: string;
  readonly deployment: number;
}

/** A lease with the time it was taken at, ISO 8601 or "unknown". */
export type HeldLease = Lease & { readonly takenAt: string };

/** A container or named job with this cluster's labels. */
export interface FoundUnit {
  readonly name: string;
  readonly kind: 'engine' | 'router';
  readonly runtime: 'docker' | 'process';
  readonly role: Role | 'router';
  readonly index: number;
  readonly rank: number;
  readonly gpus: readonly number[];
  /** RDMA devices it was started with, by its label; absent where the label is. */
  readonly nics?: readonly string[];
  readonly digest: string;
  readonly deployment: number;
  /** Empty when the label is missing. */
  readonly installation: string;
  /** What the router knows the engine by; rank 0 only. */
  readonly url?: string;
  /** The KV generation that an engine was started under; absent where the label is. */
  readonly kvGeneration?: string;
  readonly running: boolean;
}

/** What serves, as the last operation left it. */
export interface Serving {
  readonly deployment: number;
  readonly site: string;
  readonly model: string;
  readonly specDigest: string;
  readonly engines: readonly ServingEngine[];
  readonly router: ServingRouter;
  /** How to reach every host that holds a part of it. */
  readonly hosts: readonly HostRef[];
}

interface ServingEngine {
  readonly name: string;
  /** The one it has now: its label says only under which it was started. */
  readonly kvGeneration: string;
  readonly role: 'prefill' | 'decode';
  readonly hosts: readonly string[];
  readonly url: string;
  readonly digest: string;
  readonly runtime: 'docker' | 'process';
}

interface ServingRouter {
  readonly url: string;
  /** Absent for an external router. */
  readonly name?: string;
  readonly host?: string;
  readonly runtime?: 'docker' | 'process';
}

// ---- What it leaves.

export interface PlanInput {
  readonly spec: ClusterSpec;
  readonly inventory: Inventory;
  readonly installation: string;
  /** The number of this deployment. */
  readonly deployment: number;
  /** What served before, as the cluster's record has it; absent for the first deployment or a lost record. */
  readonly serving?: {
    readonly deployment: number;
    /** How to reach hosts that the spec no longer names. */
    readonly hosts: readonly HostRef[];
    /** What was left on the hosts, by name: what is gone since was removed by others, and the plan says so. */
    readonly engines?: readonly Pick<ServingEngine, 'name' | 'kvGeneration'>[];
    readonly router?: { readonly name?: string };
  };
}

/** The complete, immutable list of what will be where. After planning nobody reads `replicas` again. */
export interface Plan {
  readonly cluster: string;
  readonly site: string;
  readonly deployment: number;
  readonly installation: string;
  readonly specDigest: string;
  /** The pairing key of every engine of this plan at the router. */
  readonly kvGeneration: string;
  readonly model: ModelPlan;
  /** Every host named below or touched by a change. Sorted by name. */
  readonly hosts: readonly HostRef[];
  readonly prefill: readonly EnginePlan[];
  readonly decode: readonly EnginePlan[];
  readonly router: RouterPlan;
  /** Units of this cluster that the plan no longer has, in the order in which they go. */
  readonly removals: readonly RemovalPlan[];
  /** Every GPU that the cluster holds once the plan is carried out. */
  readonly leases: readonly LeasePlan[];
  /** Leases of this cluster that the plan no longer needs: released after the removals. */
  readonly releases: readonly LeasePlan[];
  readonly images: readonly ImagePlan[];
  readonly staging: readonly StagingPlan[];
  /** Bandwidth tests, one round after the other; no NIC is twice in a round. Empty without new links. */
  readonly rounds: readonly LinkRound[];
  /** Pairs of engines that acceptance asks directly, by name, as `rdma.coverage` says. */
  readonly pairs: readonly { readonly prefill: string; readonly decode: string }[];
  /** What is done, in this order: one after the other, and within each its moves. */
  readonly stages: readonly Stage[];
  /** What differs from what is there; only `keep` rows when nothing does. */
  readonly changes: readonly Change[];
  /** What an operator should know before: text ready to print. */
  readonly warnings: readonly string[];
}

/** What a plan does between two moments in which what serves is whole. Its name is its alone. */
export interface Stage {
  readonly name: 'prepare' | 'change' | 'tidy';
  readonly moves: readonly Move[];
}

/** One kind of work of a stage, once in each. */
export interface Move {
  readonly name: MoveName;
  /** What it is about, by name: units, or where it prepares hosts and images. Empty where there is nothing to do. */
  readonly on: readonly string[];
}

export type MoveName =
  | 'lease-gpus'
  | 'check-rocm'
  | 'check-rdma'
  | 'fetch-image'
  | 'stage-weights'
  | 'make-room-unwire'
  | 'make-room-stop'
  | 'start-prefill'
  | 'start-decode'
  | 'stop-old-router'
  | 'start-router'
  | 'wire-router'
  | 'accept'
  | 'retire-unwire'
  | 'retire-stop'
  | 'confirm'
  | 'remove-old'
  | 'release-gpus';

export interface Change {
  readonly action: 'create' | 'keep' | 'replace' | 'remove';
  readonly kind: 'engine' | 'router' | 'lease' | 'weights' | 'image';
  readonly name: string;
  readonly hosts: readonly string[];
  readonly reason: string;
}

export interface ModelPlan {
  readonly id: string;
  readonly revision: string;
  /** Folder on the host that engines read. "~/" stands for the SSH user's home. */
  readonly path: string;
}

export interface EnginePlan {
  /** tandem-<cluster>-<role>-<index>-<number>; of a kept engine the number it was made under. */
  readonly name: string;
  readonly role: Role;
  readonly index: number;
  /** The deployment that made it, or makes it. */
  readonly deployment: number;
  /** The plan's, written on what is started; the label of a kept engine may name an older one. */
  readonly kvGeneration: string;
  /** What the engine is: sha256 of this row without name, deployment, KV generation, action, proven, replaces and the two time limits. */
  readonly digest: string;
  readonly action: 'create' | 'keep' | 'replace';
  /** False until a deployment that ended well had it: a kept engine of one that was taken over is accepted first. */
  readonly proven: boolean;
  /** The units of the same engine that a `replace` removes first. */
  readonly replaces: readonly string[];
  readonly runtime: 'docker' | 'process';
  /** http://<fabric address of rank 0>:<port>: what the router knows it by. */
  readonly url: string;
  readonly host: string;
  readonly httpPort: number;
  /** Prefill only. */
  readonly bootstrapPort?: number;
  readonly servedModelName: string;
  readonly ranks: readonly RankPlan[];
  readonly readyTimeoutSeconds: number;
  readonly stopTimeoutSeconds: number;
  readonly apiKey?: SecretRef;
  readonly adminKey?: SecretRef;
}

/** One container or named job of an engine: its part on one host. */
export interface RankPlan {
  readonly rank: number;
  readonly host: string;
  readonly gpus: readonly { readonly index: number; readonly pci: string }[];
  readonly nics: readonly string[];
  /** Ports that this rank will listen on and that must be free before. */
  readonly ports: readonly number[];
  /**
   * Program and arguments. "{config}" stands for the path of the 0600 file with the keys, where there is one; an
   * argument or path that begins with "~/" is under the SSH user's home, and who starts the rank expands it.
   */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly secretEnv: Readonly<Record<string, SecretRef>>;
  /** Only with runtime docker. */
  readonly container?: ContainerPlan;
}

export interface ContainerPlan {
  readonly image: string;
  readonly devices: readonly string[];
  readonly groups: readonly string[];
  readonly capabilities: readonly string[];
  readonly securityOptions: readonly string[];
  readonly privileged: boolean;
  readonly ulimits: Readonly<Record<string, number>>;
  readonly mounts: readonly { readonly source: string; readonly target: string; readonly readOnly: boolean }[];
  readonly hostIpc: boolean;
  readonly shmSizeGiB: number;
}

export type RouterPlan = ManagedRouterPlan | ExternalRouterPlan;

interface RouterCommon {
  readonly url: string;
  readonly implementation: 'smg' | 'sglang-router';
  readonly version: string;
  /** False for sglang-router and smg before 1.11: no pairing keys, one KV generation only. */
  readonly pairingKeys: boolean;
  readonly apiKey?: SecretRef;
  readonly adminKey?: SecretRef;
}

export interface ExternalRouterPlan extends RouterCommon {
  readonly kind: 'external';
}

export interface ManagedRouterPlan extends RouterCommon {
  readonly kind: 'managed';
  /** tandem-<cluster>-router-0-<number> */
  readonly name: string;
  readonly deployment: number;
  readonly digest: string;
  readonly action: 'create' | 'keep' | 'replace';
  readonly replaces: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly runtime: 'docker' | 'process';
  /** Program and arguments, keys left out: with keys the driver starts it through a 0600 file. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly container?: ContainerPlan;
  readonly readyTimeoutSeconds: number;
}

/** A unit that goes. `first`: before anything is started, because what is started needs its GPUs or ports. */
export interface RemovalPlan {
  readonly name: string;
  readonly kind: 'engine' | 'router';
  readonly role: Role | 'router';
  readonly index: number;
  readonly digest: string;
  readonly deployment: number;
  readonly runtime: 'docker' | 'process';
  /** One row per host that holds a part of it. */
  readonly parts: readonly { readonly host: string; readonly rank: number; readonly gpus: readonly number[] }[];
  readonly url?: string;
  readonly first: boolean;
  readonly reason: string;
}

export interface LeasePlan {
  readonly host: string;
  /** In address order. */
  readonly pci: readonly string[];
}

export interface ImagePlan {
  readonly reference: string;
  readonly hosts: readonly string[];
}

export interface StagingPlan {
  readonly host: string;
  readonly source: string;
  /** Where complete weights lie afterwards. */
  readonly path: string;
  /** False when the source is used where it is: then only its presence is checked. */
  readonly copy: boolean;
}

export interface LinkRound {
  readonly tests: readonly LinkTest[];
}

/** One bandwidth test: source (prefill host) writes to target (decode host). */
export interface LinkTest {
  readonly source: LinkEnd;
  readonly target: LinkEnd;
  readonly port: number;
  readonly minGbps: number;
}

export interface LinkEnd {
  readonly host: string;
  readonly device: string;
  readonly gidIndex?: number;
  readonly address: string;
}
