import type { HostScenario, ImageScenario } from '../scenario.ts';
import { DockerError, type Flags } from './command.ts';
import type { Container } from './container.ts';
import type { DockerEngine } from './engine.ts';

/** A call of the `docker` client on a simulated host. */
export interface DockerCall {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly signal: AbortSignal;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** What a call finds on its host. */
export interface DockerHost {
  readonly engine: DockerEngine;
  readonly scenario: HostScenario;
  readonly catalogue: readonly ImageScenario[];
  /** A path that the client was given → where it lies on this machine. */
  readonly resolvePath: (path: string) => string;
  /** Runs a program beside a container's own; undefined when there is no such program. */
  readonly exec: (container: Container, argv: readonly string[], call: DockerCall) => Promise<number | undefined>;
}

/** One command of the client, its line read. */
export interface Run {
  readonly host: DockerHost;
  readonly call: DockerCall;
  readonly flags: Flags;
  readonly args: readonly string[];
  /** Folder of the client's configuration. */
  readonly config: string | undefined;
}

/** The engine, or the client's words for why it cannot be reached. */
export function engineOf({ host }: Run, path: string): DockerEngine {
  const { state } = host.scenario.docker;
  if (state === 'stopped') throw new DockerError(`${NO_DAEMON}\n`);
  if (state === 'denied') {
    throw new DockerError(
      `permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.50/${path}": dial unix /var/run/docker.sock: connect: permission denied\n`,
    );
  }
  return host.engine;
}
const NO_DAEMON = 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?';

/** Why the engine cannot be reached; undefined when it can. */
export function whyUnreachable(it: Run, path: string): string | undefined {
  try {
    engineOf(it, path);
    return undefined;
  } catch (error) {
    if (error instanceof DockerError) return error.message;
    throw error;
  }
}
