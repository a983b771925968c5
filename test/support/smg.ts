import { existsSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { START_MS } from './patience.ts';
import { until } from './processes.ts';

/** A real smg that a test started itself, as one that some other team runs. */
export interface Smg {
  readonly url: string;
  /** What it lists now, in the order of the engines' URLs. */
  list(): Promise<readonly SmgEntry[]>;
  /** Asks for an engine to be listed and waits until it is, ready and under its pairing key. */
  admit(engine: {
    readonly url: string;
    readonly role: 'prefill' | 'decode';
    readonly bootstrapPort?: number;
    readonly key: string;
  }): Promise<void>;
  stop(): Promise<void>;
}

export interface SmgEntry {
  readonly id: string;
  readonly url: string;
  readonly role: string;
  readonly status: string;
  readonly key: string;
}

export const PYTHON = new URL('../../.venv/bin/python', import.meta.url).pathname;

/** Starts smg on port 30000 of an address, with more flags where they are given, and returns once it answers. */
export async function startSmg(address: string, more: readonly string[] = []): Promise<Smg> {
  if (!existsSync(PYTHON)) throw new Error('smg is not installed: run npm run setup');
  const url = `http://${address}:30000`;
  const flags = `--pd-disaggregation --host ${address} --port 30000 --prometheus-host ${address} --prometheus-port 29000 --policy round_robin --retry-max-retries 10 --health-check-interval-secs 1 --worker-startup-check-interval 1`;
  const child = spawn(PYTHON, ['-m', 'smg.launch_router', ...flags.split(' '), ...more], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (log += part.toString()));
  await until(
    'smg answers',
    async () => {
      if (child.exitCode !== null) throw new Error(`smg ended:\n${log}`);
      return (await fetch(`${url}/health`).catch(() => undefined))?.ok === true;
    },
    { limitMs: START_MS, everyMs: 50 },
  );
  const list = async () => {
    const { workers } = (await (await fetch(`${url}/workers`)).json()) as { workers: Record<string, string>[] };
    return workers
      .map((row) => ({
        id: row['id']!,
        url: row['url']!,
        role: row['worker_type']!,
        status: row['status']!,
        key: row['pd_pairing']!,
      }))
      .toSorted((one, other) => (one.url < other.url ? -1 : 1));
  };
  return {
    url,
    list,
    async admit({ url: engine, role, bootstrapPort, key }) {
      await fetch(`${url}/workers`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          url: engine,
          worker_type: role,
          ...(bootstrapPort === undefined ? {} : { bootstrap_port: bootstrapPort }),
          labels: { pairing_protocol: key },
          health: { drain_settle_secs: 0 },
        }),
      });
      await until(`smg lists ${engine}`, async () =>
        (await list()).some((entry) => entry.url === engine && entry.status === 'ready' && entry.key === key),
      );
    },
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
