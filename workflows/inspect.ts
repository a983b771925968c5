import type { Health, HostLogs, LogsQuestion, PlanQuestion } from '../src/operations/questions.ts';
import { isCancellation } from '@temporalio/workflow';
import type { Plan, Serving } from '../src/plan/types.ts';
import type { Finding } from '../src/checks/check.ts';
import { demandsOf } from '../src/checks/demand.ts';
import type { FoundCluster } from '../src/plan/adopt.ts';
import { hostRef, knownRefs } from '../src/plan/host-ref.ts';
import { modelPlan } from '../src/plan/model.ts';
import { byText } from '../src/plan/order.ts';
import type { ClusterSpec, HostSpec } from '../src/spec/schema.ts';
import { secretRefs } from '../src/spec/secret-refs.ts';
import { eachAt } from './batch.ts';
import { failedOf } from './failed.ts';
import { observe, runtimesOn } from './observe.ts';
import { activitiesAt, presenceAt } from './proxies.ts';

/** Workflows that only read: what `plan`, `check`, `status` and `logs` show. */

/** Whether a Temporal worker of a site is there. */
export async function presence({ site }: { readonly site: string }): Promise<void> {
  await presenceAt(site).present();
}

/** What a deploy of this spec would do now. */
export async function plan({ spec, cluster, installation, deployment, serving }: PlanQuestion): Promise<Plan> {
  await presenceAt(spec.site).present();
  const act = activitiesAt(impatient(spec));
  const refs = spec.hosts.list.map((host) => hostRef(spec, host));
  const inventory = await observe(eachAt(impatient(spec)), { spec, cluster, refs, model: modelPlan(spec), serving });
  return await act({ summary: 'plan' }).planDeployment({
    spec,
    inventory,
    installation,
    deployment,
    ...(serving ? { serving } : {}),
  });
}

/** What the hosts show of a cluster whose record was lost. */
export async function adoption({
  spec,
  installation,
}: {
  readonly spec: ClusterSpec;
  readonly installation?: string;
}): Promise<FoundCluster> {
  await presenceAt(spec.site).present();
  const act = activitiesAt(impatient(spec));
  const refs = spec.hosts.list.map((host) => hostRef(spec, host));
  const inventory = await observe(eachAt(impatient(spec)), {
    spec,
    cluster: spec.name,
    refs,
    model: modelPlan(spec),
    serving: null,
  });
  return await act({ summary: `read what is there of ${spec.name}` }).planAdoption({
    spec,
    inventory,
    ...(installation === undefined ? {} : { installation }),
  });
}

/** The findings of the host checks and of the links that a deploy would measure. */
export async function check(question: PlanQuestion): Promise<readonly Finding[]> {
  const { spec } = question;
  const planned = await plan(question);
  const act = activitiesAt(impatient(spec));
  const refs = new Map(planned.hosts.map((ref) => [ref.name, ref]));
  const findings: Finding[] = [];
  await eachAt(impatient(spec))(demandsOf(spec, planned), async (demand, act) => {
    findings.push(
      ...(await act({ summary: `check ${demand.host}` }).checkHost({ ref: refs.get(demand.host)!, demand })),
    );
  });
  findings.sort((a, b) => byText(a.host, b.host)); // Activities end in any order.
  for (const round of planned.rounds) {
    const hosts = new Set(round.tests.flatMap(({ source, target }) => [source.host, target.host]));
    findings.push(
      ...(await act({ summary: 'measure links' }).measureRound({
        round,
        refs: [...hosts].map((name) => refs.get(name)!),
        seconds: spec.rdma.testSeconds,
        waive: spec.checks.waive,
      })),
    );
  }
  return findings;
}

/** What each host lacks before any deploy; a host that cannot be reached is a finding like others. */
export async function readiness({ spec }: { readonly spec: ClusterSpec }): Promise<readonly Finding[]> {
  await presenceAt(spec.site).present();
  const findings = new Map<string, readonly Finding[]>();
  await eachAt(impatient(spec))(spec.hosts.list, async (host, act) => {
    const found = await act({ summary: `readiness of ${host.name}` })
      .hostReadiness({ ref: hostRef(spec, host), ...needsOf(spec, host) })
      .catch((error: unknown): Finding[] => {
        const { message, remedy } = failedOf(error, 'readiness');
        return [{ check: 'host-login', host: host.name, verdict: 'fail', evidence: message, remedy }];
      });
    findings.set(host.name, found);
  });
  return spec.hosts.list.flatMap(({ name }) => findings.get(name) ?? []);
}

function needsOf(spec: ClusterSpec, { name, gpus }: HostSpec) {
  const serves = gpus.count > 0;
  const routes = 'host' in spec.router && spec.router.host === name ? spec.router : undefined;
  const docker = (serves && spec.engine.runtime === 'docker') || routes?.runtime === 'docker';
  const process = (serves && spec.engine.runtime === 'process') || routes?.runtime === 'process';
  const copies = serves && (spec.model.copy || !spec.model.source.startsWith('file://'));
  return {
    docker,
    tools: [
      { tool: 'setsid', use: 'running commands that can be ended' },
      { tool: 'base64', use: 'passing commands over SSH' },
      ...(process ? [{ tool: 'python3', use: 'running engines and the router as processes' }] : []),
      ...(serves ? [{ tool: 'amd-smi', use: 'reading GPUs' }] : []),
      ...(serves && spec.rdma.transport === 'rdma' ? [{ tool: 'ib_write_bw', use: 'measuring links' }] : []),
      ...(copies && /^(hf|https):/.test(spec.model.source) ? [{ tool: 'curl', use: 'fetching weights' }] : []),
      ...(copies && spec.model.source.startsWith('rsync:') ? [{ tool: 'rsync', use: 'fetching weights' }] : []),
    ],
    folders: [
      { path: spec.hosts.stateDir, key: 'hosts.stateDir' },
      ...(serves ? [{ path: spec.hosts.leaseDir, key: 'hosts.leaseDir' }] : []),
      ...(copies ? [{ path: spec.model.dir, key: 'model.dir' }] : []),
    ],
  };
}

/** Asks every engine and the router. */
export async function health({
  serving,
  spec,
}: {
  readonly serving: Serving;
  readonly spec: ClusterSpec;
}): Promise<Health> {
  await presenceAt(serving.site).present();
  const engines: Record<string, boolean | null> = Object.fromEntries(serving.engines.map(({ name }) => [name, null]));
  const asked = eachAt(impatient(spec))(serving.hosts, async (ref, act) => {
    const here = serving.engines.filter(({ hosts }) => hosts[0] === ref.name);
    if (here.length === 0) return;
    const { apiKey } = spec.engine;
    await act({ summary: `health of ${ref.name}` })
      .engineHealth({ ref, engines: here.map(({ name, url }) => ({ name, url })), ...(apiKey ? { apiKey } : {}) })
      .then(
        (found) => Object.assign(engines, found),
        () => {},
      ); // Not readable: null says so.
  });
  const { url, host } = serving.router;
  const ref = serving.hosts.find(({ name }) => name === host);
  const { adminKey, apiKey: clientKey } = 'external' in spec.router ? spec.router.external : spec.router;
  const key = adminKey ?? clientKey;
  const [router] = await Promise.all([
    activitiesAt(impatient(spec))({ summary: 'health of the router' })
      .routerHealth({
        url,
        ...(ref ? { ref } : {}),
        ...(key ? { key } : {}),
        engines: serving.engines.map(({ name, url: engine }) => ({ name, url: engine })),
      })
      .catch(() => null),
    asked,
  ]);
  return { engines, router };
}

/** The last lines of the logs of all that hosts show of a cluster; one that does not answer says so in their place. */
export async function logs({ spec, serving, ...asked }: LogsQuestion): Promise<HostLogs> {
  await presenceAt(spec.site).present();
  const refs = [...knownRefs(spec, serving?.hosts ?? []).values()];
  const charactersMax = Math.floor(LOGS_CHARACTERS / refs.length);
  const secrets = secretRefs(spec);
  const names = new Set<string>();
  const found: Record<string, string> = {};
  await eachAt(impatient(spec))(refs, async (ref, act) => {
    const runtimes = runtimesOn(spec, ref.name, serving);
    const here = await act({ summary: `logs of ${ref.name}` })
      .hostLogs({ ref, cluster: spec.name, runtimes, charactersMax, secrets, ...asked })
      .catch((error: unknown): HostLogs => {
        if (isCancellation(error)) throw error;
        return { names: [], logs: { [`host ${ref.name}`]: `(not readable: ${failedOf(error, 'logs').message})` } };
      });
    for (const name of here.names) names.add(name);
    Object.assign(found, here.logs);
  });
  return {
    names: [...names].toSorted(byText),
    logs: Object.fromEntries(Object.entries(found).toSorted(([a], [b]) => byText(a, b))),
  };
}

/** What Temporal takes as one result, with room to spare; the hosts share it. */
const LOGS_CHARACTERS = 1024 * 1024;

/** A person waits for the answer: an unreachable host is said soon. */
export const impatient = (spec: ClusterSpec): ClusterSpec & { readonly reads: true } => ({
  ...spec,
  reads: true,
  hosts: { ...spec.hosts, ssh: { ...spec.hosts.ssh, retrySeconds: Math.min(spec.hosts.ssh.retrySeconds, 5) } },
});
