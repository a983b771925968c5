import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { execa } from 'execa';
import { readOperation } from '../../bench/history.ts';
import { median } from '../../bench/report.ts';
import { withCauses } from '../../src/cli/output.ts';
import { dataConverter } from '../../src/connection.ts';
import { hostQuestions } from '../../src/facts/host-facts.ts';
import { quote } from '../../src/drivers/ssh/quote.ts';
import type { Plan } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { aSpec } from '../support/specs.ts';
import { allOf, startTemporalStack } from '../support/temporal-stack.ts';
import { startLab, whyNoLab, type Lab } from './lab.ts';

/**
 * `npm run bench -- preflight`: all facts of lab hosts, which are real OpenSSH servers, read by `plan` through Temporal;
 * in turn with the same activities without Temporal, and with what others would use: one plain ssh process per host with
 * all commands in it, pyinfra and Ansible. Each starts without an open connection. Exit 1 when it takes more than 1.5 times
 * what it takes without Temporal; what it aims at beside the others is said.
 */
const { values } = parseArgs({
  args: process.argv.slice(2),
  options: { hosts: { type: 'string', default: '32' }, rounds: { type: 'string', default: '3' } },
});
const why = await whyNoLab();
if (why !== undefined) {
  process.stderr.write(`no lab can run here: ${why}\n`);
  process.exit(1);
}

const here = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const NAMESPACE = 'default';
const GPUS = { product: 'MI300X', count: 8 };
/** Most that the product may take, and what it aims at, as multiples of others. */
const FLOOR_MOST = 1.5;
const AIMS = { pyinfra: 1, ansible: 0.2 } as const;

const LABELS: Readonly<Record<string, string>> = {
  tandem: 'Tandem: `plan` through Temporal',
  floor: 'the same activities without Temporal',
  ssh: 'one ssh process per host, all commands in it',
  pyinfra: 'pyinfra 3.10.0, facts',
  ansible: 'ansible-core 2.19.14, raw tasks',
};

const dir = await mkdtemp(join(tmpdir(), 'tandem-preflight-'));
const ends: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true })];
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void allOf(ends).finally(() => process.exit(1)));
try {
  const count = Number(values.hosts);
  const names = Array.from({ length: count }, (_, index) => `b${index + 1}`);
  const lab = await startLab(
    'bench',
    names.map((name) => ({ name, images: [] })),
  );
  ends.unshift(() => lab.stop());
  const rivals = await rivalsOf(lab);
  const stack = await startTemporalStack(dir);
  ends.unshift(() => stack.stop());
  const spec = specOf(lab);
  const address = stack.client.settings.origin;
  const connection = await Connection.connect({ address });
  ends.unshift(() => connection.close());
  const client = new Client({ connection, namespace: NAMESPACE, dataConverter });

  let turn = 0;
  const plan = async (): Promise<number> => {
    await stack.worker.end();
    await stack.worker.start();
    const question = { spec, cluster: spec.name, deployment: 1, installation: 'new', serving: null };
    const from = performance.now();
    const workflowId = `plan/${(turn += 1)}`;
    const handle = await client.workflow.start('plan', { workflowId, taskQueue: 'tandem', args: [question] });
    const { hosts } = (await handle.result()) as Plan;
    const seconds = (performance.now() - from) / 1000;
    if (hosts.length !== count) throw new Error(`${hosts.length} of ${count} hosts are in the plan`);
    const { groups } = await readOperation(client, workflowId);
    await writeFile(join(dir, 'groups.json'), JSON.stringify(groups));
    return seconds;
  };
  const floor = async (): Promise<number> => {
    await execa(process.execPath, [here('dist/bench/floor.js'), join(dir, 'groups.json'), join(dir, 'floor.json')]);
    return (JSON.parse(await readFile(join(dir, 'floor.json'), 'utf8')) as { seconds: number }).seconds;
  };
  const runs: Readonly<Record<string, () => Promise<number>>> = { tandem: plan, floor, ...rivals };
  // What the hosts' tools print is kept by them, as hardware would have it: the first run is not counted.
  await plan();
  const seconds: Record<string, number[]> = {};
  for (let round = 1; round <= Number(values.rounds); round += 1)
    for (const [name, run] of Object.entries(runs)) {
      (seconds[name] ??= []).push(await run());
      process.stderr.write(`round ${round}: ${name} ${seconds[name]!.at(-1)!.toFixed(2)} s\n`);
    }
  const took = (name: string) => median(seconds[name]!);
  const questions = hostQuestions({}).length;
  process.stdout.write(
    `${cpus().length} cores, ${count} hosts, ${questions} commands each, ${values.rounds} rounds, medians\n\n` +
      '| | seconds | times Tandem |\n| --- | ---: | ---: |\n' +
      Object.keys(runs)
        .map((name) => `| ${LABELS[name]} | ${took(name).toFixed(2)} | ${(took(name) / took('tandem')).toFixed(2)} |\n`)
        .join(''),
  );
  const ratio = (name: string) => took('tandem') / took(name);
  for (const [name, aim] of Object.entries(AIMS))
    if (ratio(name) > aim)
      process.stdout.write(`\nNot met: ${ratio(name).toFixed(2)} times ${LABELS[name]}; the aim is ${aim}`);
  if (ratio('floor') > FLOOR_MOST) {
    process.stderr.write(`${ratio('floor').toFixed(2)} times the floor; at most ${FLOOR_MOST} is accepted\n`);
    process.exitCode = 1;
  }
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${withCauses(error)}\n`);
} finally {
  await allOf(ends);
}
process.exit();

function specOf(lab: Lab): ClusterSpec {
  const [prefill, decode] = [lab.hosts.slice(0, 1), lab.hosts.slice(1, -1)];
  const { user, identityFile, knownHostsFile, configFile } = lab;
  return aSpec({
    name: 'preflight',
    model: { id: 'tandem/tiny-chat', source: 'file:///srv/tiny-chat' },
    engine: { image: undefined, runtime: 'process', version: '0.5.23' },
    hosts: {
      ssh: { user, identityFile, knownHostsFile, configFile },
      leaseDir: '~/leases',
      list: lab.hosts.map(({ name, address }) => ({ name, address, gpus: GPUS })),
    },
    prefill: { replicas: prefill.length, gpus: GPUS, hosts: prefill.map(({ name }) => name) },
    decode: { replicas: decode.length, gpus: GPUS, hosts: decode.map(({ name }) => name) },
    router: { host: lab.hosts.at(-1)!.name, runtime: 'process' },
  });
}

/** The same commands by other means; their programs are in a folder of this user's cache, where `npm run bench` puts them. */
async function rivalsOf(lab: Lab): Promise<Record<string, () => Promise<number>>> {
  const bin = join((await execa('sh', [here('bench/rivals.sh')])).stdout, 'bin');
  const { user, identityFile, knownHostsFile, configFile } = lab;
  const commands = hostQuestions({}).map(({ argv }) => argv.map(quote).join(' '));
  const script = commands.map((command) => `${command} 2>&1`).join('\n');
  const known = ['-F', configFile, '-o', `UserKnownHostsFile=${knownHostsFile}`, '-o', 'BatchMode=yes'];
  const timed = async (work: () => Promise<unknown>) => {
    const from = performance.now();
    await work();
    return (performance.now() - from) / 1000;
  };
  const put = async (name: string, content: string) => {
    await writeFile(join(dir, name), content);
    return join(dir, name);
  };
  const data = {
    ssh_user: user,
    ssh_key: identityFile,
    ssh_known_hosts_file: knownHostsFile,
    ssh_config_file: configFile,
  };
  const inventory = await put(
    'inventory.py',
    `hosts = ([${lab.hosts.map(({ address }) => JSON.stringify(address)).join(', ')}], ${JSON.stringify(data)})\n`,
  );
  const facts = await put(
    'facts.py',
    `from pyinfra import host\nfrom pyinfra.facts.server import Command\nfor command in ${JSON.stringify(commands)}:\n    host.get_fact(Command, command + " 2>&1 || true")\n`,
  );
  const hostsFile = await put('hosts', lab.hosts.map(({ address }) => `${address}\n`).join(''));
  const playbook = await put(
    'facts.json',
    JSON.stringify([
      {
        hosts: 'all',
        gather_facts: false,
        // Commands hold braces, which its templates would read.
        tasks: commands.map((command) => ({
          raw: `{% raw %}${command} 2>&1 || true{% endraw %}`,
          changed_when: false,
        })),
      },
    ]),
  );
  return {
    ssh: () =>
      timed(() =>
        Promise.all(
          lab.hosts.map(async ({ address }) => {
            const argv = [...known, '-i', identityFile, `${user}@${address}`, 'sh'];
            const { exitCode, stderr } = await execa('ssh', argv, { input: script, reject: false });
            if (exitCode === 255) throw new Error(`ssh to ${address}: ${stderr}`); // Its own failure, not a command's.
          }),
        ),
      ),
    pyinfra: () =>
      timed(() =>
        execa(join(bin, 'pyinfra'), ['--parallel', String(lab.hosts.length), '-y', inventory, facts], { cwd: dir }),
      ),
    ansible: () =>
      timed(() =>
        execa(join(bin, 'ansible-playbook'), ['-i', hostsFile, '-f', String(lab.hosts.length), playbook], {
          cwd: dir,
          env: {
            ANSIBLE_REMOTE_USER: user,
            ANSIBLE_PRIVATE_KEY_FILE: identityFile,
            ANSIBLE_PIPELINING: 'true',
            ANSIBLE_SSH_ARGS: `-F ${configFile} -o UserKnownHostsFile=${knownHostsFile} -o ControlMaster=auto -o ControlPersist=2s`,
            ANSIBLE_HOME: join(dir, 'ansible'),
            LC_ALL: 'C.UTF-8',
          },
        }),
      ),
  };
}
