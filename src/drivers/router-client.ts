import { z } from 'zod';
import { ask, readAs, Refused } from './ask.ts';
import type { Fetch } from './types.ts';

/** What Tandem asks of a router: smg and sglang-router take the same calls. Throws `NoAnswer` when nothing readable came back. */
export interface RouterClient {
  list(): Promise<readonly RouterEntry[]>;
  /** Queues the engine; the list shows it later, once the router has spoken with it. Listed already is fine. */
  add(engine: NewEntry): Promise<{ readonly id?: string }>;
  /** Changes the pairing key, and the key for the engine where given; requests in flight survive it. False when the entry is gone. */
  rekey(id: string, entry: Pick<NewEntry, 'pairingKey' | 'apiKey'>): Promise<boolean>;
  /** Queues the removal. Gone already is fine. */
  remove(id: string): Promise<void>;
}

/** One engine as the router sees it. */
export interface RouterEntry {
  readonly id: string;
  readonly url: string;
  /** "prefill", "decode"; "regular" while smg has not spoken with it yet. */
  readonly role: string;
  readonly bootstrapPort?: number;
  readonly ready: boolean;
  /** "ready", "draining", …; sglang-router says no more than healthy or not. */
  readonly status: string;
  /** Two engines meet only under equal keys. Absent where the router has none. */
  readonly pairingKey?: string;
  /** Requests that smg has in flight there; sglang-router shows 0 during streams. */
  readonly load: number;
}

export interface NewEntry {
  readonly url: string;
  /** "prefill" or "decode". */
  readonly role: string;
  readonly bootstrapPort?: number;
  readonly pairingKey?: string;
  readonly apiKey?: string;
}

const ANSWER_MS = 10_000;

const Entry = z.object({
  id: z.string(),
  url: z.string(),
  worker_type: z.string(),
  bootstrap_port: z.number().nullish(),
  is_healthy: z.boolean(),
  status: z.string().nullish(),
  pd_pairing: z.string().nullish(),
  load: z.number().default(0),
});
const List = z.object({ workers: z.array(Entry) });
const Accepted = z.object({ worker_id: z.string().optional() });

/** The router at `url`; `key` is that of its control plane, or its API key where there is no other. */
export function routerClient({
  fetch,
  url,
  key,
}: {
  fetch: Fetch;
  url: string;
  key?: string | undefined;
}): RouterClient {
  const call = (method: string, path: string, json?: unknown) =>
    ask(fetch, `${url.replace(/\/$/, '')}${path}`, { method, key, json, timeoutMs: ANSWER_MS });
  return {
    async list() {
      return readAs(List, 'GET /workers', await call('GET', '/workers')).workers.map(entryOf);
    },
    async add(engine) {
      const answer = await call('POST', '/workers', bodyOf(engine));
      // 409: listed already, or being added or removed right now. Whoever waits looks at the list again.
      if (answer.status === 409) return {};
      const { worker_id: id } = readAs(Accepted, 'POST /workers', answer, [200, 202]);
      return id === undefined ? {} : { id };
    },
    async rekey(id, { pairingKey, apiKey }) {
      const answer = await call('PATCH', `/workers/${encodeURIComponent(id)}`, keysOf({ pairingKey, apiKey }));
      if (answer.status === 404) return false;
      if (answer.status >= 300) throw new Refused('PATCH /workers', answer);
      return true;
    },
    async remove(id) {
      const answer = await call('DELETE', `/workers/${encodeURIComponent(id)}`);
      if (answer.status >= 300 && answer.status !== 404) throw new Refused('DELETE /workers', answer);
    },
  };
}

/** The label form of the key can be changed later, which the field form cannot. */
const keysOf = ({ pairingKey, apiKey }: { pairingKey?: string | undefined; apiKey?: string | undefined }) => ({
  ...(pairingKey === undefined ? {} : { labels: { pairing_protocol: pairingKey }, health: { drain_settle_secs: 0 } }),
  ...(apiKey === undefined ? {} : { api_key: apiKey }),
});

const bodyOf = ({ url, role, bootstrapPort, ...keys }: NewEntry) => ({
  url,
  worker_type: role,
  ...(bootstrapPort === undefined ? {} : { bootstrap_port: bootstrapPort }),
  ...keysOf(keys),
});

function entryOf(row: z.infer<typeof Entry>): RouterEntry {
  const status = row.status ?? (row.is_healthy ? 'ready' : 'unhealthy');
  return {
    id: row.id,
    url: row.url,
    role: row.worker_type,
    ...(row.bootstrap_port == null ? {} : { bootstrapPort: row.bootstrap_port }),
    ready: status === 'ready' && row.is_healthy,
    status,
    ...(row.pd_pairing == null ? {} : { pairingKey: row.pd_pairing }),
    load: row.load,
  };
}
