import type { Command } from 'commander';
import type { LeaseRow, LeaseList } from '../operations/questions.ts';
import type { HeldLease } from '../plan/types.ts';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import { groupBy } from '../plan/order.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { actorOf, EXIT, jsonOption, needFitting, print, reporting, withClient } from './output.ts';
import { requireSpec } from './spec-file.ts';
import { brokenView, leasesView, renderBroken, renderLeases, standingOf } from './views/leases.ts';
import { raw } from '../text/raw.ts';

interface BreakOptions {
  readonly host: string;
  readonly pci?: string;
  readonly cluster?: string;
  readonly reason: string;
  readonly actor?: string;
  readonly force?: boolean;
  readonly json?: boolean;
}

export function addLease(program: Command): void {
  const lease = program
    .command('lease')
    .description('See who holds the GPUs of hosts, and break what nobody will release.');
  jsonOption(
    lease
      .command('list <file>')
      .description(
        'List the leases on the hosts of a spec, of every team, and whether Temporal here knows their cluster.',
      ),
  ).action((file: string, { json }: { json?: boolean }) =>
    reporting(json, async () => {
      const { spec } = await requireSpec(file);
      await withClient(json, async (client) => {
        const list = await client.ask<LeaseList>('leases', [{ spec }]);
        const view = leasesView(list, await recordsOf(client, list.leases));
        print(view, () => renderLeases(view), json);
        if (view.unread.length > 0) process.exitCode = EXIT.failed;
      });
    }),
  );
  jsonOption(
    lease
      .command('break <file>')
      .description(
        'Remove leases of a lost cluster from a host. The reason is kept in the list of workflows and on the host, in <leaseDir>/.broken.',
      )
      .requiredOption('--host <name>', 'the host, as the spec names it')
      .option('--pci <addresses>', 'which GPUs, as `lease list` shows them, separated by commas')
      .option('--cluster <name>', 'all leases of this cluster; default: the cluster of the spec')
      .requiredOption('--reason <text>', 'why nobody else will release them')
      .option('--force', 'also while a unit of that cluster runs on the host')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
  ).action((file: string, options: BreakOptions) =>
    reporting(options.json, async () => {
      const { spec } = await requireSpec(file);
      needUsable(spec, file, options);
      const actor = actorOf(options.actor);
      await withClient(
        options.json,
        async (client) => {
          const { leases, unread } = await client.ask<LeaseList>('leases', [{ spec, hosts: [options.host] }]);
          if (unread[0]) throw notRead(unread[0]);
          const going = chosen(leases, spec, options);
          refuseServing(going, await recordsOf(client, going));
          const broken: HeldLease[] = [];
          for (const [cluster, rows] of groupBy(going, (row) => row.cluster))
            broken.push(...(await breakAll(client, cluster, rows, { spec, actor, options })));
          const view = brokenView(going, broken);
          print(view, () => renderBroken(view), options.json);
          if (view.changed.length > 0) process.exitCode = EXIT.failed;
        },
        `${actor} tandem`,
      );
    }),
  );
}

/** The records here of the clusters that hold leases, by name. */
async function recordsOf(client: TandemClient, leases: readonly HeldLease[]) {
  const names = [...new Set(leases.map(({ cluster }) => cluster))];
  const records = await Promise.all(names.map(async (name) => [name, await client.find(name)] as const));
  return new Map(records.flatMap(([name, record]) => (record ? [[name, record]] : [])));
}

function needUsable(spec: ClusterSpec, file: string, { host, pci, cluster, reason }: BreakOptions): void {
  needFitting({ reason });
  if (reason.trim() === '') throw usage('--reason is empty', 'Say why nobody else will release these leases.');
  if (pci !== undefined && cluster !== undefined)
    throw usage('--pci and --cluster were both given', 'Give one of them.');
  const names = spec.hosts.list.map(({ name }) => name);
  if (!names.includes(host)) throw usage(`${file} has no host ${host}`, `Its hosts are ${names.join(', ')}.`);
}

/** The leases that are meant; each must be there. */
function chosen(leases: readonly LeaseRow[], spec: ClusterSpec, { host, pci, cluster = spec.name }: BreakOptions) {
  const see = `See \`tandem lease list FILE\`.`;
  if (pci === undefined) {
    const its = leases.filter((lease) => lease.cluster === cluster);
    if (its.length === 0) throw usage(`${host} holds no lease of cluster ${cluster}`, see);
    return its;
  }
  const addresses = pci.split(',').map((one) => one.trim());
  const missing = addresses.filter((one) => !leases.some((lease) => lease.pci === one));
  if (missing.length > 0) throw usage(`${host} holds no lease of GPU ${missing.join(', ')}`, see);
  return leases.filter((lease) => addresses.includes(lease.pci));
}

/** Leases of a cluster that is known here go with it: breaking them would let another cluster start beside its engines. */
function refuseServing(leases: readonly LeaseRow[], records: Awaited<ReturnType<typeof recordsOf>>): void {
  const serving = leases.find((lease) => standingOf(lease, records) === 'serving');
  if (!serving) return;
  throw new DeployError({
    code: 'CHANGE_REFUSED',
    message: `GPU ${serving.pci} on ${serving.host} is leased by cluster ${serving.cluster}, which is known here and ${records.get(serving.cluster)!.state}`,
    remedy: `\`tandem destroy ${serving.cluster}\` releases it.`,
    retryable: false,
    host: serving.host,
  });
}

const breakAll = (
  client: TandemClient,
  cluster: string,
  rows: readonly LeaseRow[],
  { spec, actor, options }: { readonly spec: ClusterSpec; readonly actor: string; readonly options: BreakOptions },
): Promise<readonly HeldLease[]> => {
  const { host, reason, force = false } = options;
  const leases = rows.map(({ host: _host, gpu: _gpu, ...lease }) => lease);
  return client.breakLeases(cluster, { spec, host, leases, actor, reason, force });
};

const notRead = ({ code, host, message, evidence, remedy }: LeaseList['unread'][number]) =>
  new DeployError({
    code: code as DeployError['code'],
    message,
    remedy,
    host,
    evidence: raw(evidence),
    retryable: true,
  });

const usage = (message: string, remedy: string) =>
  new DeployError({ code: 'USAGE', message, remedy, retryable: false });
