/** What runs in a container: a simulated engine in this process, or a real child process. */
export interface Unit {
  readonly pid: number;
  /** 128 + signal when a signal ended it. Never rejects. */
  readonly exited: Promise<number>;
  /** After `exited`: whether the kernel killed it because the host had no memory left. */
  readonly killedForMemory?: () => boolean;
  signal(name: 'SIGTERM' | 'SIGKILL' | 'SIGINT' | 'SIGSTOP' | 'SIGCONT'): void;
}

/** What a unit is started from. */
export interface UnitStart {
  /** Name of the container: engine faults match it. */
  readonly name: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly imageReference: string;
  /** GPUs and RDMA devices are given to the container. */
  readonly devicesMapped: boolean;
  /** A path in the container → where it lies on this machine. */
  readonly resolvePath: (path: string) => string;
  readonly log: (stream: 'stdout' | 'stderr', text: string) => void;
}

/** Starts what the container's command says; undefined when there is no such program. */
export type StartUnit = (start: UnitStart) => Promise<Unit | undefined>;
