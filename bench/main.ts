import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import type { FloorResult } from './floor.ts';
import { readOperation, type Recorded } from './history.ts';
import { cpuSeconds, masters, peakMemory } from './process.ts';
import { breaches, renderReport, type FloorRun, type ProductRun, type Size } from './report.ts';
import { benchSpec } from './spec.ts';
import { logins, Stack } from './stack.ts';

if (process.argv[2] === 'preflight') {
  // It needs the lab, which is no part of the build.
  const [loader, program] = ['support/ts-loader.mjs', 'lab/preflight.ts'].map((name) =>
    fileURLToPath(new URL(`../../test/${name}`, import.meta.url)),
  );
  const args = ['--no-warnings', '--import', loader!, program!, ...process.argv.slice(3)];
  process.exit((await execa(process.execPath, args, { stdio: 'inherit', reject: false })).exitCode ?? 1);
}

/**
 * Deploys to simulated hosts by the product, and does the same remote work without Temporal, in turn; prints both
 * and their ratio. Exit 1 when a size takes more than is accepted, or the two did different work.
 */
const { values } = parseArgs({
  options: {
    hosts: { type: 'string', default: '16,64' },
    rounds: { type: 'string', default: '3' },
  },
});
/** How long the load of others is looked at before a run, in milliseconds. */
const LOOK_MS = 1_000;

const dir = await mkdtemp(join(tmpdir(), 'tandem-bench-'));
const stack = new Stack(dir);
let ending: Promise<void> | undefined;
const close = () =>
  (ending ??= stack.close().then(async () => {
    if (process.exitCode !== 1) await rm(dir, { recursive: true, force: true });
    else process.stderr.write(`What the processes said is in ${dir}\n`);
  }));
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    process.exitCode = 1;
    void close().then(() => process.exit(1));
  });
}

try {
  const temporal = await stack.temporal();
  const sizes: Size[] = [];
  for (const hosts of values.hosts.split(',').map(Number)) {
    const product: ProductRun[] = [];
    const floor: FloorRun[] = [];
    for (let round = 1; round <= Number(values.rounds); round += 1) {
      const { run, recorded } = await deploy(temporal, hosts, round);
      product.push(run);
      process.stderr.write(
        `${hosts} hosts, round ${round}: deploy ${run.seconds.toFixed(1)} s, ${run.events} events, ${run.retries} retries, ${run.memoryMiB.toFixed(0)} MiB`,
      );
      floor.push(await withoutTemporal(recorded, hosts, round));
      process.stderr.write(`, floor ${floor.at(-1)!.seconds.toFixed(1)} s\n`);
    }
    sizes.push({ hosts, product, floor });
  }
  process.stdout.write(`${cpus().length} cores, Node ${process.version}\n\n${renderReport(sizes)}\n`);
  for (const breach of breaches(sizes)) {
    process.stderr.write(`${breach}\n`);
    process.exitCode = 1;
  }
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
} finally {
  await close();
}
process.exit(); // The clients of the Temporal server hold the loop open.

/** One deploy of a new cluster on new hosts by a new Temporal worker. */
async function deploy(
  temporal: Awaited<ReturnType<Stack['temporal']>>,
  hosts: number,
  round: number,
): Promise<{ readonly run: ProductRun; readonly recorded: Recorded }> {
  const { spec, digest, folder } = specOf(hosts, round);
  const simulated = await stack.hosts(spec, folder);
  const worker = await stack.worker(temporal.address, temporal.tandem);
  const load = await loadOfOthers();
  const serverCpu = await cpuSeconds(temporal.process.pid);
  const workerCpu = await cpuSeconds(worker.pid);
  const begun = performance.now();
  const { deployment, workflowId } = await temporal.tandem.submit(spec.name, {
    operation: 'deploy',
    spec,
    specDigest: digest,
    actor: 'bench',
  });
  await temporal.tandem.settled(workflowId);
  const seconds = (performance.now() - begun) / 1000;
  const progress = await temporal.tandem.progress(workflowId);
  if (progress?.outcome !== 'succeeded')
    throw new Error(`deployment ${deployment} ended ${progress?.outcome}: ${JSON.stringify(progress?.failed)}`);
  const recorded = await readOperation(temporal.client, workflowId);
  const run: ProductRun = {
    seconds,
    load,
    events: recorded.events,
    bytes: recorded.bytes,
    retries: recorded.retries,
    byActivity: recorded.seconds,
    activities: recorded.groups.reduce((sum, { calls }) => sum + calls.length, 0),
    memoryMiB: await peakMemory(worker.pid),
    workerCpuSeconds: (await cpuSeconds(worker.pid)) - workerCpu,
    serverCpuSeconds: (await cpuSeconds(temporal.process.pid)) - serverCpu,
    masters: await masters(worker.pid),
    logins: await logins(simulated.state),
  };
  await stack.stop(worker);
  await stack.stop(simulated);
  return { run, recorded };
}

/** The recorded work of a deploy, on the same hosts made new, without Temporal. */
async function withoutTemporal({ groups }: Recorded, hosts: number, round: number): Promise<FloorRun> {
  const { spec, folder } = specOf(hosts, round);
  const simulated = await stack.hosts(spec, folder);
  const [groupsFile, resultFile] = [join(dir, 'groups.json'), join(dir, 'floor.json')];
  await writeFile(groupsFile, JSON.stringify(groups));
  const load = await loadOfOthers();
  await stack.floor(groupsFile, resultFile);
  const result = JSON.parse(await readFile(resultFile, 'utf8')) as FloorResult;
  const run = { ...result, load, logins: await logins(simulated.state) };
  await stack.stop(simulated);
  return run;
}

function specOf(hosts: number, round: number) {
  const folder = join(dir, `hosts-${hosts}`);
  const login = { identityFile: join(folder, 'id_ed25519'), knownHostsFile: join(folder, 'known_hosts') };
  return { folder, ...benchSpec(`bench-${hosts}-${round}`, hosts, login) };
}

/** Part of all cores that was busy while this bench waited, 0–1. */
async function loadOfOthers(): Promise<number> {
  const before = await times();
  await sleep(LOOK_MS);
  const after = await times();
  return 1 - (after.idle - before.idle) / (after.all - before.all);
}

/** Clock ticks of all cores since the machine's start. */
async function times(): Promise<{ readonly idle: number; readonly all: number }> {
  const [first = ''] = (await readFile('/proc/stat', 'utf8')).split('\n');
  const ticks = first.split(/\s+/).slice(1, 9).map(Number);
  return { idle: ticks[3]! + ticks[4]!, all: ticks.reduce((sum, each) => sum + each, 0) };
}
