import {
  LABELS,
  type Drivers,
  type Host,
  type LeaseOwner,
  type Runtime,
  type UnitState,
} from '../src/drivers/types.ts';
import { MARK } from '../src/drivers/weights/files.ts';
import { DeployError } from '../src/errors.ts';
import { hostQuestions, readHostFacts, type QuestionOptions } from '../src/facts/host-facts.ts';
import { gpusOf, nicsOf, providerLibrariesOf } from '../src/facts/inventory.ts';
import { byText } from '../src/plan/order.ts';
import type { FoundUnit, HostInventory, HostRef, ModelPlan, Role } from '../src/plan/types.ts';
import { signal } from './context.ts';

export interface ObserveHost {
  readonly ref: HostRef;
  readonly cluster: string;
  /** GPUs that the spec says are there; 0 on a host that only routes, where none need be readable. */
  readonly gpus: number;
  /** Where units of this cluster may be. */
  readonly runtimes: readonly Runtime['kind'][];
  readonly model: ModelPlan;
  readonly options: QuestionOptions;
}

const PRESENCE_TIMEOUT_MS = 10_000;
/** A model of a terabyte is some hundred files. */
const PURGE_TIMEOUT_MS = 600_000;
/** A deployment's folder, or that of a job which is half made or half removed: nothing else is deleted by its name alone. */
const LEFTOVER = /^(deployments\/[\w-]+-\d+|jobs\/\.tandem-[\w-]+(\.gone)?\.\d+)$/;

/** What is on a host, and its leases. */
export function createHostActivities(drivers: Drivers) {
  return {
    /** Shows that a Temporal worker of this site is there. */
    async present(): Promise<void> {},

    /**
     * Reads what the planner needs of one host; changes nothing. What cannot be read is an error and never an empty
     * host: an engine that nobody saw would be started twice. Errors: HOST_*, COMMAND_TIMEOUT, COMMAND_FAILED, CHECK_FAILED.
     */
    async observeHost({ ref, cluster, gpus, runtimes, model, options }: ObserveHost): Promise<HostInventory> {
      const host = drivers.host(ref, signal(), { together: true });
      const questions = hostQuestions(options);
      const outputs = await host.runAll(questions);
      const [staged, found, leases] = await Promise.all([
        isStaged(host, model),
        foundUnits(host, cluster, runtimes),
        leasesOf(host),
      ]);
      const facts = readHostFacts(Object.fromEntries(questions.map(({ name }, index) => [name, outputs[index]!])));
      if (gpus > 0 && facts.gpus.value === undefined) throw unreadable(ref.name, facts.gpus.why);
      return {
        host: ref.name,
        gpus: gpusOf(facts),
        nics: nicsOf(facts),
        providerLibraries: providerLibrariesOf(facts),
        leases,
        found,
        weights: staged ? [`${model.id}/${model.revision}`] : [],
      };
    },

    /** Takes leases, all or none. Errors: LEASE_HELD, LEASE_DIR_MISSING. */
    async leaseGpus({
      ref,
      pci,
      owner,
    }: {
      readonly ref: HostRef;
      readonly pci: readonly string[];
      readonly owner: LeaseOwner;
    }): Promise<void> {
      await drivers.host(ref, signal()).leases.take(pci, owner);
    },

    /** Deletes folders in stateDir that a removal left half-way: "deployments/demo-3", "jobs/.tandem-demo-router-0-3.gone.17". */
    async removeFolders({
      ref,
      folders,
    }: {
      readonly ref: HostRef;
      readonly folders: readonly string[];
    }): Promise<void> {
      const host = drivers.host(ref, signal());
      const stateDir = await host.expand(ref.stateDir);
      const paths = folders.map((folder) => {
        if (!LEFTOVER.test(folder)) throw new TypeError(`no folder that a removal leaves: ${folder}`);
        return `${stateDir}/${folder}`;
      });
      await host.must({ argv: ['rm', '-rf', '--', ...paths], timeoutMs: PRESENCE_TIMEOUT_MS });
    },

    /**
     * Deletes what a cluster kept on a host: its logs, and the complete weights at `path` unless a lease says that somebody
     * uses the host, who may read them. Returns who does, where they stay.
     */
    async purgeHost({
      ref,
      cluster,
      path,
    }: {
      readonly ref: HostRef;
      readonly cluster: string;
      readonly path?: string;
    }): Promise<{ readonly usedBy?: string }> {
      const host = drivers.host(ref, signal());
      await host.keptLogs.drop(cluster);
      if (path === undefined) return {};
      const [lease] = await host.leases.list();
      if (lease) return { usedBy: lease.cluster };
      const folder = await host.expand(path);
      // The mark first: what is left of a removal that is cut off must not look complete.
      await host.must({ argv: ['rm', '-rf', '--', `${folder}/${MARK}`, folder], timeoutMs: PURGE_TIMEOUT_MS });
      return {};
    },

    /** Releases those of the leases that `owner` holds; without a deployment number, those of every number. */
    async releaseGpus({
      ref,
      pci,
      owner,
    }: {
      readonly ref: HostRef;
      readonly pci: readonly string[];
      readonly owner: Omit<LeaseOwner, 'deployment'> & { readonly deployment?: number };
    }): Promise<void> {
      await drivers.host(ref, signal()).leases.release(pci, owner);
    },
  };
}

async function isStaged(host: Host, { path }: ModelPlan): Promise<boolean> {
  const argv = ['test', '-s', `${await host.expand(path)}/${MARK}`];
  return (await host.run({ argv, timeoutMs: PRESENCE_TIMEOUT_MS })).exitCode === 0;
}

const unreadable = (host: string, why: string) =>
  new DeployError({
    code: 'CHECK_FAILED',
    message: `${host}: its GPUs could not be read: ${why}`,
    remedy: `Log in to ${host} and run \`amd-smi static --json\`; without the driver there is nothing to plan with.`,
    retryable: false,
    host,
  });

async function leasesOf(host: Host): Promise<HostInventory['leases']> {
  const leases = await host.leases.list();
  return leases
    .map(({ pci, cluster, installation, deployment }) => ({ pci, cluster, installation, deployment }))
    .toSorted((a, b) => byText(a.pci, b.pci));
}

async function foundUnits(
  host: Host,
  cluster: string,
  runtimes: readonly Runtime['kind'][],
): Promise<readonly FoundUnit[]> {
  const units = await Promise.all(
    runtimes.map(async (kind) =>
      (await host.runtime(kind).find({ [LABELS.cluster]: cluster })).map((unit) => foundUnit(unit, kind)),
    ),
  );
  return units.flat().toSorted((a, b) => byText(a.name, b.name));
}

function foundUnit({ name, labels, running }: UnitState, runtime: Runtime['kind']): FoundUnit {
  const list = (text: string | undefined) => (text === undefined || text === '' ? [] : text.split(','));
  const nics = labels[LABELS.nics];
  const url = labels[LABELS.url];
  const kvGeneration = labels[LABELS.generation];
  return {
    name,
    kind: labels[LABELS.kind] === 'router' ? 'router' : 'engine',
    runtime,
    role: (labels[LABELS.role] ?? '') as Role | 'router',
    index: Number(labels[LABELS.index] ?? 0),
    rank: Number(labels[LABELS.rank] ?? 0),
    gpus: list(labels[LABELS.gpus]).map(Number),
    ...(nics === undefined ? {} : { nics: list(nics) }),
    digest: labels[LABELS.digest] ?? '',
    deployment: Number(labels[LABELS.deployment] ?? 0),
    installation: labels[LABELS.installation] ?? '',
    ...(url === undefined ? {} : { url }),
    ...(kvGeneration === undefined ? {} : { kvGeneration }),
    running,
  };
}
