import { readFile } from 'node:fs/promises';
import { parse as parseYaml } from 'yaml';
import type { Role } from '../../plan/types.ts';
import newestDefaults from './flag-defaults.json' with { type: 'json' };
import oldestDefaults from './flag-defaults-0.5.10.post1.json' with { type: 'json' };
import { flagTable } from './flag-table.ts';
import { parseArgv, UsageError, type FlagValue } from './flags.ts';
import { NEWEST, releaseOf, type Release } from './release.ts';
import type { EngineOptions } from './types.ts';

/** What an engine reads out of its command line; `args` is the rest, by the names that /server_info uses. */
export interface Settings {
  readonly args: Readonly<Record<string, unknown>>;
  readonly launchCommand: string;
  readonly version: string;
  readonly release: Release;
  readonly role: Role | 'null';
  readonly modelPath: string;
  readonly servedModelName: string;
  readonly host: string;
  readonly port: number;
  readonly bootstrapPort: number;
  readonly apiKey: string | undefined;
  readonly adminKey: string | undefined;
  readonly metrics: boolean;
  readonly roleSwitch: boolean;
  readonly contextLength: number | undefined;
  readonly maxRunning: number;
  readonly maxTotalTokens: number;
  readonly memFraction: number;
  readonly nodes: number;
  readonly nodeRank: number;
  readonly distInit: { readonly host: string; readonly port: number } | undefined;
  readonly logRequests: boolean;
}

/** The settings of an engine that is told none, of the recorded versions. */
const DEFAULTS: Readonly<Record<Release['settings'], object>> = {
  '0.5.10.post1': oldestDefaults,
  '0.5.23': newestDefaults,
};
const DEFAULT_MAX_RUNNING = 2048;
const DEFAULT_MAX_TOTAL_TOKENS = 1_048_576;

/** Reads argv and the file of --config, which counts as flags before the others. Throws UsageError. */
export async function readSettings(options: EngineOptions): Promise<Settings> {
  const version = options.version ?? NEWEST;
  const release = releaseOf(version);
  const table = flagTable(version);
  const own = parseArgv(options.argv, table);
  const configFile = own.get('config');
  const fromFile =
    typeof configFile === 'string'
      ? parseArgv(await configArgv(options.resolvePath?.(configFile) ?? configFile), table)
      : [];
  const given = new Map<string, FlagValue>([...fromFile, ...own]);
  if (!given.has('model-path')) {
    throw new UsageError('the following arguments are required: --model-path/--model');
  }
  const value = <T extends FlagValue>(flag: string, otherwise: T): T => (given.get(flag) ?? otherwise) as T;
  const modelPath = value('model-path', '');
  const role = value<string>('disaggregation-mode', 'null') as Role | 'null';
  const later = new Set(Object.keys(flagTable('')).filter((flag) => !Object.hasOwn(table, flag)));
  const defaults = Object.fromEntries(
    Object.entries(DEFAULTS[release.settings]).filter(([name]) => !later.has(name.replaceAll('_', '-'))),
  );
  const args: Record<string, unknown> = {
    ...defaults,
    model_path: modelPath,
    tokenizer_path: modelPath,
    served_model_name: modelPath,
    // What the two roles resolve differently without being told.
    load_balance_method: role === 'prefill' ? 'follow_bootstrap_room' : 'round_robin',
    ...(role === 'decode' &&
      'disaggregation_decode_extra_slots' in defaults && { disaggregation_decode_extra_slots: 0 }),
    ...Object.fromEntries([...given].map(([flag, its]) => [flag.replaceAll('-', '_'), its])),
  };
  delete args['config'];
  const distInit = value<string | null>('dist-init-addr', null);
  return {
    args,
    launchCommand: options.argv.join(' '),
    version,
    release,
    role,
    modelPath,
    servedModelName: args['served_model_name'] as string,
    host: value('host', '127.0.0.1'),
    port: value('port', 30000),
    bootstrapPort: value('disaggregation-bootstrap-port', 8998),
    apiKey: value<string | null>('api-key', null) ?? undefined,
    adminKey: value<string | null>('admin-api-key', null) ?? undefined,
    metrics: given.has('enable-metrics'),
    roleSwitch: given.has('enable-pd-role-switch'),
    contextLength: value<number | null>('context-length', null) ?? undefined,
    maxRunning: value('max-running-requests', DEFAULT_MAX_RUNNING),
    maxTotalTokens: value('max-total-tokens', DEFAULT_MAX_TOTAL_TOKENS),
    memFraction: value('mem-fraction-static', 0.8),
    nodes: value('nnodes', 1),
    nodeRank: value('node-rank', 0),
    distInit: distInit === null ? undefined : splitAddress(distInit),
    logRequests: given.has('log-requests') && value<string>('log-requests-format', 'text') === 'json',
  };
}

async function configArgv(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError(`Config file not found: ${file}`);
  });
  const config: unknown = parseYaml(text);
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new UsageError('Config file must contain a dictionary at root level');
  }
  return Object.entries(config).flatMap(([key, value]: [string, unknown]) => {
    if (value === true) return [`--${key}`];
    if (value === false || value === null) return [];
    return Array.isArray(value) ? [`--${key}`, ...value.map(String)] : [`--${key}=${scalar(value)}`];
  });
}

const scalar = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));

function splitAddress(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(':');
  const port = Number(address.slice(colon + 1));
  if (colon < 1 || !Number.isInteger(port))
    throw new UsageError(`argument --dist-init-addr: invalid address '${address}'`);
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port };
}
