import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerPlan, HostRef } from '../src/plan/types.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import { LABELS, type Drivers, type Host, type Runtime, type UnitState } from '../src/drivers/types.ts';
import { redact } from '../src/drivers/secrets.ts';
import { DeployError } from '../src/errors.ts';
import { read } from '../src/facts/fact.ts';
import { listeningPorts } from '../src/facts/listening-ports.ts';
import { signal } from './context.ts';
import { ending, raw, type Raw } from '../src/text/raw.ts';
import { withoutColours } from '../src/text/visible.ts';

/** One container or named job of a deployment: what engines and routers are made of. Names and labels never change. */
export interface UnitAt {
  readonly ref: HostRef;
  readonly name: string;
  readonly runtime: Runtime['kind'];
  /** 0 for a router. */
  readonly rank: number;
  readonly cluster: string;
  /** The deployment that made it. */
  readonly deployment: number;
  /** The installation that made it: a unit of another one is never touched. */
  readonly installation: string;
}

/** Whose a unit is: the cluster, and the installation that made it. */
export type Owner = Pick<UnitAt, 'cluster' | 'installation'>;

/** The unit that a row of the plan is. */
export const unitOf = (
  { name, runtime, deployment }: Pick<UnitAt, 'name' | 'runtime' | 'deployment'>,
  owner: Owner,
): Omit<UnitAt, 'ref' | 'rank'> => ({ name, runtime, deployment, ...owner });

/** What the labels of a unit say of it, beside whose it is. */
export interface Labelled {
  readonly kind: 'engine' | 'router';
  readonly role: string;
  readonly index: number;
  readonly rank: number;
  readonly digest: string;
  readonly deployment: number;
  readonly gpus: readonly number[];
  readonly nics: readonly string[];
  /** Left out for ranks above 0, which nobody asks. */
  readonly url?: string;
  /** The KV generation of an engine. */
  readonly generation?: string;
}

/** The labels of a unit, by which it is found and known again on its host. */
export const labelsOf = (unit: Labelled, { cluster, installation }: Owner): Record<string, string> => ({
  [LABELS.cluster]: cluster,
  [LABELS.kind]: unit.kind,
  [LABELS.role]: unit.role,
  [LABELS.index]: String(unit.index),
  [LABELS.rank]: String(unit.rank),
  [LABELS.digest]: unit.digest,
  [LABELS.deployment]: String(unit.deployment),
  [LABELS.installation]: installation,
  [LABELS.gpus]: unit.gpus.join(','),
  [LABELS.nics]: unit.nics.join(','),
  ...(unit.url === undefined ? {} : { [LABELS.url]: unit.url }),
  ...(unit.generation === undefined ? {} : { [LABELS.generation]: unit.generation }),
});

/** The unit as it is now; undefined when the host has none. Errors: NAME_CONFLICT when it is another installation's. */
export async function findUnit(host: Host, unit: Omit<UnitAt, 'ref' | 'rank'>): Promise<UnitState | undefined> {
  const found = await unitNamed(host, unit);
  if (!found || isOurs(found, unit)) return found;
  throw new DeployError({
    code: 'NAME_CONFLICT',
    message: `${host.ref.name}: ${unit.name} belongs to installation ${found.labels[LABELS.installation]}, not to ${unit.installation}`,
    remedy: `Destroy or adopt that cluster from where it was deployed, or choose another name than ${unit.cluster}.`,
    retryable: false,
    host: host.ref.name,
  });
}

async function unitNamed(host: Host, unit: Omit<UnitAt, 'ref' | 'rank'>): Promise<UnitState | undefined> {
  const units = await host
    .runtime(unit.runtime)
    .find({ [LABELS.cluster]: unit.cluster, [LABELS.deployment]: String(unit.deployment) });
  return units.find(({ name }) => name === unit.name);
}

const isOurs = ({ labels }: UnitState, { installation }: Pick<UnitAt, 'installation'>) =>
  labels[LABELS.installation] === installation;

/** Folder on the host for what belongs to one unit: the file with its keys. */
export const unitFolder = (
  host: Host,
  { cluster, deployment, name, rank }: Pick<UnitAt, 'cluster' | 'deployment' | 'name' | 'rank'>,
) => host.expand(`${host.ref.stateDir}/deployments/${cluster}-${deployment}/${name}-${rank}`);

/** TERM, and KILL after the limit; the unit stays. Not there, or another installation's, is fine: nothing of ours runs. */
export async function stopUnit(drivers: Drivers, unit: UnitAt, timeoutSeconds: number): Promise<void> {
  const host = drivers.host(unit.ref, signal());
  const found = await unitNamed(host, unit);
  if (found && isOurs(found, unit)) await host.runtime(unit.runtime).stop(unit.name, { timeoutSeconds });
}

/**
 * Deletes the unit's folder, then forgets the unit, by which a repeat, also that of another operation, finds what is
 * left to do. What is another installation's stays. What `first` makes of a unit that is there is returned.
 */
export async function removeUnit<T>(
  drivers: Drivers,
  unit: UnitAt,
  first: (host: Host) => Promise<T>,
): Promise<T | undefined> {
  const host = drivers.host(unit.ref, signal());
  const found = await unitNamed(host, unit);
  if (found && !isOurs(found, unit)) return undefined;
  const made = found && (await first(host));
  const folder = await unitFolder(host, unit);
  await host.must({ argv: ['rm', '-rf', '--', folder], timeoutMs: 30_000 });
  // The deployment's own folder goes with its last unit; rmdir refuses while something is in it.
  await host.run({ argv: ['rmdir', '--', folder.slice(0, folder.lastIndexOf('/'))], timeoutMs: 30_000 });
  if (found) await host.runtime(unit.runtime).remove(unit.name);
  return made;
}

/** Errors: PORT_TAKEN, and COMMAND_FAILED where it could not be read. A listener on somebody else's loopback address is no conflict. */
export async function needFreePorts(host: Host, ports: readonly number[], what: string, key: string): Promise<void> {
  if (ports.length === 0) return;
  const { name, address, fabricAddress } = host.ref;
  const { command, timeoutMs } = listeningPorts;
  const listening = read(listeningPorts, await host.run({ argv: command(), timeoutMs }));
  if (listening.value === undefined) {
    throw new DeployError({
      code: 'COMMAND_FAILED',
      message: `${name}: cannot see which ports are taken: ${listening.why}`,
      remedy: `Make \`${command().join(' ')}\` work on ${name} (package iproute2).`,
      retryable: false,
      host: name,
    });
  }
  const foreign = (at: string) => /^(127\.|\[?::1)/.test(at) && at !== address && at !== fabricAddress;
  const taken = listening.value.find((listener) => ports.includes(listener.port) && !foreign(listener.address));
  if (!taken) return;
  throw new DeployError({
    code: 'PORT_TAKEN',
    message: `${name}: something listens on ${taken.address}:${taken.port}, a port that ${what} needs`,
    remedy: `End it (\`ss -ltnp 'sport = :${taken.port}'\` as root names it), or change ${key}.`,
    retryable: false,
    host: name,
  });
}

/** "~/" at the start of an argument stands for the home of the SSH user, which only the host knows. */
export const expandAll = (host: Host, texts: readonly string[]): Promise<string[]> =>
  Promise.all(texts.map(async (text) => (text.startsWith('~/') ? await host.expand(text) : text)));

/** The container as its host knows it: paths expanded, and `files` mounted where they are. */
export async function containerOf(
  host: Host,
  plan: ContainerPlan,
  imageId: string | undefined,
  files: readonly string[],
): Promise<ContainerPlan & { readonly imageId?: string }> {
  const mounts = await Promise.all(
    plan.mounts.map(async ({ source, target, readOnly }) => {
      const [from, to] = await expandAll(host, [source, target]);
      return { source: from!, target: to!, readOnly };
    }),
  );
  const own = files.map((file) => ({ source: file, target: file, readOnly: true }));
  return { ...plan, mounts: [...mounts, ...own], ...(imageId === undefined ? {} : { imageId }) };
}

/** The value of a reference, or undefined where the spec has none. */
export const secretOf = (drivers: Drivers, ref: SecretRef | undefined): Promise<string | undefined> =>
  ref === undefined ? Promise.resolve(undefined) : drivers.secret(ref);

/** Values of those that resolve: one that does not cannot have been given to what ran. */
export async function valuesOf(drivers: Drivers, refs: readonly SecretRef[]): Promise<string[]> {
  const found = await Promise.allSettled(refs.map((ref) => drivers.secret(ref)));
  return found.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

/** The end of a log, as the evidence of an error. */
export const tailOf = (log: Raw, secrets: readonly string[]): Raw => ending(redacted(log, secrets));

/** A log without colours and the secrets. SGLang prints its keys in server_args, escaped as Python does, so that the value itself may not be found. */
export const redacted = (log: Raw, secrets: readonly string[]): Raw =>
  raw(
    redact(withoutColours(log), secrets).replace(
      /(api_key['"]?\s*[=:]\s*)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")/g,
      "$1'[redacted]'",
    ),
  );

/** The log where it can be read; reading it must never hide the failure that it is read for. */
export async function logOf(runtime: Runtime, name: string, tailLines: number): Promise<Raw | undefined> {
  try {
    return await runtime.logs(name, { tailLines });
  } catch (error) {
    if (signal().aborted) throw error;
    return undefined;
  }
}

/** Waits between two looks: `firstMs`, then longer and longer up to five times that. Ends at once when cancelled. */
export function pacer(firstMs: number): () => Promise<void> {
  let nextMs = firstMs;
  return async () => {
    await sleep(nextMs, undefined, { signal: signal() });
    nextMs = Math.min(nextMs * 1.3, firstMs * 5);
  };
}
