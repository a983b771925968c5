import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { DeployError } from './errors.ts';
import { payloadCodec } from './codec.ts';
import { isAway, temporalFailure } from './temporal-failure.ts';

const CONNECT_TIMEOUT_MS = 5_000;
const CONNECT_AGAIN_MS = 300;

/** Where the local stack keeps its state, on this machine. */
export const localDir = (): string => join(homedir(), '.tandem', 'local');
export const localStateFile = (): string => join(localDir(), 'state.json');

/** What `tandem local up` leaves for the other verbs. */
export interface LocalState {
  readonly temporal: { readonly address: string; readonly namespace: string; readonly uiUrl: string };
  /** Processes in the order in which they were started: name, pid and start time, since a pid alone may be reused. */
  readonly processes: readonly {
    readonly name: string;
    readonly pid: number;
    readonly startTime: string;
    readonly log: string;
  }[];
}

/** Reads the state file; undefined when no local stack was brought up. */
export function readLocalState(): LocalState | undefined {
  try {
    return JSON.parse(readFileSync(localStateFile(), 'utf8')) as LocalState;
  } catch {
    return undefined;
  }
}

export interface ConnectionSettings {
  readonly connectionOptions: ReturnType<typeof loadClientConnectConfig>['connectionOptions'];
  readonly namespace: string;
  /** For messages: the address and where it came from. */
  readonly origin: string;
  readonly uiUrl?: string;
}

export const dataConverter = { payloadCodecs: [payloadCodec] };

/**
 * The Temporal server to talk to: `TEMPORAL_*` or temporal.toml where they name an address, else the running local
 * stack, else localhost:7233. Errors: USAGE when temporal.toml cannot be read.
 */
export function connectionSettings(): ConnectionSettings {
  let config: ReturnType<typeof loadClientConnectConfig>;
  try {
    config = loadClientConnectConfig();
  } catch (cause) {
    throw new DeployError({
      code: 'USAGE',
      message: `the Temporal configuration cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`,
      remedy: 'Mend TEMPORAL_* or temporal.toml (`temporal config list` shows it).',
      retryable: false,
      cause,
    });
  }
  const { connectionOptions, namespace } = config;
  if (connectionOptions.address) {
    return {
      connectionOptions,
      namespace: namespace ?? 'default',
      origin: `${connectionOptions.address} (TEMPORAL_* or temporal.toml)`,
    };
  }
  const local = readLocalState();
  if (local) {
    const { address, namespace: localNamespace, uiUrl } = local.temporal;
    return {
      connectionOptions: { ...connectionOptions, address },
      namespace: localNamespace,
      origin: `${address} (the local stack)`,
      uiUrl,
    };
  }
  const address = 'localhost:7233';
  return {
    connectionOptions: { ...connectionOptions, address },
    namespace: namespace ?? 'default',
    origin: `${address} (the default)`,
  };
}

/** A connection to a server that answers. Errors: as `temporalFailure`. */
export async function connectTemporal(
  settings: ConnectionSettings,
  timeoutMs = CONNECT_TIMEOUT_MS,
): Promise<Connection> {
  const { connectionOptions } = settings;
  // Without the retries of the client: they end with the time limit, and what was wrong is lost.
  const probe = Connection.lazy({ ...connectionOptions, interceptors: [] });
  try {
    for (const end = Date.now() + timeoutMs; ; await delay(CONNECT_AGAIN_MS)) {
      try {
        await probe.withDeadline(end, () => probe.workflowService.getSystemInfo({}));
        return Connection.lazy(connectionOptions);
      } catch (error) {
        if (!isAway(error) || Date.now() + CONNECT_AGAIN_MS >= end) throw temporalFailure(error, settings);
      }
    }
  } finally {
    await probe.close();
  }
}
