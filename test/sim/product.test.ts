import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { HostRef } from '../../src/plan/types.ts';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers, UnitSpec } from '../../src/drivers/types.ts';
import { hostQuestions, readHostFacts, type HostFacts } from '../../src/facts/host-facts.ts';
import { gpusOf, nicsOf, providerLibrariesOf } from '../../src/facts/inventory.ts';
import { Scenario, scenarioFor } from '../../src/sim/scenario.ts';
import { ClusterSpec } from '../../src/spec/schema.ts';
import { ANSWER_MS, patientSeconds } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import { simulate, type TestSimulation } from '../support/simulation.ts';

/** The product's own drivers and facts on simulated hosts: what is asked there is answered, and is what the scenario says. */
const IMAGE = 'rocm/sgl-dev:v0.5.23-rocm720-mi30x';
const IP = '127.82.20.1';
/** Short: control sockets lie in it. */
const RUNTIME_DIR = join(tmpdir(), 'drivers');
let sim: TestSimulation;
let drivers: Drivers;
const warnings: string[] = [];

beforeAll(async () => {
  sim = await simulate({
    hosts: [
      { name: 'mi325x-0', address: IP, gpus: { product: 'MI325X', usedMiB: [0, 0, 5000] }, images: [IMAGE] },
      {
        name: 'old',
        address: '127.82.20.2',
        rocm: '6.2.4',
        driver: '6.8.5',
        gpus: { count: 4 },
        nics: [{ device: 'mlx5_0', driver: 'mlx5', state: 'DOWN' }],
      },
      { name: 'no-amd-smi', address: '127.82.20.3', amdSmi: 'absent', driver: null },
      {
        name: 'router',
        address: '127.82.20.4',
        gpus: { count: 0 },
        docker: { state: 'stopped' },
        memlock: '65536',
        numaBalancing: '1',
      },
      { name: 'closed', address: '127.82.20.5', gpus: { count: 0 }, forwarding: false },
    ],
    images: [{ reference: IMAGE }],
  });
  drivers = createDrivers({ runtimeDir: RUNTIME_DIR, onWarning: (message) => warnings.push(message) });
});
afterAll(async () => {
  await drivers.close();
  await sim.stop();
  rmSync(RUNTIME_DIR, { recursive: true, force: true });
});

const ref = (name: string): HostRef => {
  const { address, port, user, hostKey } = sim.state.hosts.find((host) => host.name === name)!;
  const ssh = {
    identityFile: sim.state.identityFile,
    knownHostsFile: sim.state.knownHostsFile,
    jump: [],
    become: 'none' as const,
  };
  return {
    name,
    address,
    port,
    user,
    hostKey,
    fabricAddress: address,
    ssh: { ...ssh, becomePassword: undefined, configFile: undefined } as unknown as HostRef['ssh'],
    stateDir: '~/.tandem',
    leaseDir: '~/leases',
  };
};

async function factsOf(name: string): Promise<HostFacts> {
  const host = drivers.host(ref(name));
  const questions = hostQuestions({ weightsDir: await host.expand('~/models') });
  const outputs = await host.runAll(questions);
  return readHostFacts(Object.fromEntries(questions.map((question, index) => [question.name, outputs[index]!])));
}

describe('the facts of a healthy host', () => {
  let facts: HostFacts;
  beforeAll(async () => {
    facts = await factsOf('mi325x-0');
  });

  it('can all be read', () => {
    const unread = Object.entries(facts).flatMap(([name, reading]) =>
      reading && typeof reading === 'object' && 'why' in reading && reading.why !== undefined
        ? [`${name}: ${reading.why}`]
        : [],
    );
    expect(unread).toEqual([]);
  });

  it('are the GPUs of the scenario', () => {
    expect(
      gpusOf(facts)
        .map(({ index, pci, product, numaNode }) => [index, pci, product, numaNode])
        .at(2),
    ).toEqual([2, '0000:46:00.0', 'MI325X', 0]);
    expect(gpusOf(facts)).toHaveLength(8);
    expect(facts.gpus.value![2]).toMatchObject({ usedMiB: 5283, hbmMiB: 262_128 });
    expect(facts.rocm.value).toBe('7.2.0');
  });

  it('are the NICs of the scenario, each with a RoCE v2 GID and its provider library', () => {
    expect(nicsOf(facts)).toHaveLength(8);
    expect(nicsOf(facts)[3]).toEqual({
      device: 'bnxt_re3',
      driver: 'bnxt_re',
      up: true,
      rateGbps: 400,
      gidIndex: 3,
      address: '10.3.0.1',
      numaNode: 0,
    });
    expect(providerLibrariesOf(facts)).toEqual([
      { driver: 'bnxt_re', path: '/usr/lib64/libibverbs/libbnxt_re-rdmav34.so' },
    ]);
  });
});

describe('the facts of an odd host', () => {
  it('tell older releases, fewer GPUs and a port that is down', async () => {
    const facts = await factsOf('old');
    expect([facts.rocm.value, facts.driver.value]).toMatchObject(['6.2.4', { version: '6.8.5' }]);
    expect(gpusOf(facts)).toHaveLength(4);
    expect(nicsOf(facts)).toMatchObject([{ device: 'mlx5_0', up: false }]);
  });

  it('come from the fallbacks where amd-smi is absent', async () => {
    const facts = await factsOf('no-amd-smi');
    expect(gpusOf(facts).map(({ product }) => product)).toEqual(Array(8).fill('MI300X'));
  });

  it('say why there is no GPU and no Docker Engine', async () => {
    const facts = await factsOf('router');
    expect(facts.docker.why).toMatch(/daemon/i);
    expect(gpusOf(facts)).toEqual([]);
    expect(nicsOf(facts)).toHaveLength(1);
  });
});

describe('the runtimes', () => {
  const argv = (port: number) => [
    'python3',
    '-m',
    'sglang.launch_server',
    '--model-path',
    '/models/m',
    '--host',
    IP,
    '--port',
    String(port),
    '--disaggregation-mode',
    'decode',
  ];
  const ready = async (port: number) => {
    const answer = await drivers
      .host(ref('mi325x-0'))
      .fetch(`http://${IP}:${port}/ready`, { timeoutMs: ANSWER_MS })
      .catch(() => undefined);
    return answer?.status === 200;
  };
  const unit = (name: string, port: number): UnitSpec => ({
    name,
    labels: { 'tandem.cluster': 'demo', 'tandem.role': 'decode' },
    argv: argv(port),
    env: { TOKEN: "it's\nsecret" },
    stopTimeoutSeconds: 20,
    container: {
      image: IMAGE,
      devices: ['/dev/kfd', '/dev/dri', '/dev/infiniband'],
      groups: ['video', 'render'],
      capabilities: ['SYS_PTRACE', 'IPC_LOCK'],
      securityOptions: ['seccomp=unconfined'],
      privileged: false,
      ulimits: { memlock: -1 },
      hostIpc: true,
      shmSizeGiB: 64,
      mounts: [
        { source: join(sim.host('mi325x-0').home, 'share/tiny-chat'), target: '/models/m', readOnly: true },
        {
          source: '/usr/lib64/libibverbs/libbnxt_re-rdmav34.so',
          target: '/usr/lib/x86_64-linux-gnu/libibverbs/libbnxt_re-rdmav34.so',
          readOnly: true,
        },
      ],
    },
  });

  it('start an engine in a container once, find it, stop and remove it', async () => {
    const runtime = drivers.host(ref('mi325x-0')).runtime('docker');
    const started = await runtime.start(unit('tandem-demo-decode-0-1', 30000));
    await eventually(() => ready(30000));
    expect(await runtime.start(unit('tandem-demo-decode-0-1', 30000))).toEqual(started);
    expect(sim.counts()['mi325x-0']).toMatchObject({ containersCreated: 1, enginesStarted: 1 });
    expect((await runtime.find({ 'tandem.cluster': 'demo' })).map(({ name, running }) => [name, running])).toEqual([
      ['tandem-demo-decode-0-1', true],
    ]);
    await runtime.stop('tandem-demo-decode-0-1', { timeoutSeconds: patientSeconds(20) });
    expect(await runtime.find({ 'tandem.cluster': 'demo' })).toMatchObject([{ running: false, exitCode: 0 }]);
    await runtime.remove('tandem-demo-decode-0-1');
    expect(await runtime.find({})).toEqual([]);
  });

  it('start an engine as a process that holds its GPU until it ends', async () => {
    const host = drivers.host(ref('mi325x-0'));
    const runtime = host.runtime('process');
    const model = await host.expand('~/share/tiny-chat');
    const started = await runtime.start({
      ...unit('tandem-demo-decode-1-1', 30100),
      argv: argv(30100).map((word) => (word === '/models/m' ? model : word)),
    });
    await eventually(() => ready(30100));
    const inUse = async () =>
      JSON.parse(await host.must({ argv: ['amd-smi', 'process', '--json', '-g', '0'], timeoutMs: ANSWER_MS }))[0]
        .process_list[0].process_info;
    expect(await inUse()).toMatchObject({ pid: started.pid });
    expect(await host.must({ argv: ['cat', `/proc/${started.pid}/stat`], timeoutMs: ANSWER_MS })).toContain('(node)');
    await runtime.stop('tandem-demo-decode-1-1', { timeoutSeconds: patientSeconds(20) });
    expect(await inUse()).toBe('No running processes detected');
    expect(await runtime.find({})).toMatchObject([{ running: false, exitCode: 0 }]);
    await runtime.remove('tandem-demo-decode-1-1');
    await eventually(async () => (await sim.host('mi325x-0').processes()).length === 0);
  });

  it('start the real router, as a process and in a container', async () => {
    const host = drivers.host(ref('mi325x-0'));
    const router = (port: number) => [
      'python3',
      '-m',
      'smg.launch_router',
      '--pd-disaggregation',
      '--host',
      IP,
      '--port',
      String(port),
      '--prometheus-port',
      String(port + 1),
      '--prometheus-host',
      IP,
    ];
    for (const [kind, port] of [
      ['process', 31000],
      ['docker', 31100],
    ] as const) {
      const name = `tandem-demo-router-0-${port}`;
      await host.runtime(kind).start({ ...unit(name, port), argv: router(port) });
      await eventually(
        async () =>
          (await host.fetch(`http://${IP}:${port}/liveness`, { timeoutMs: ANSWER_MS }).catch(() => undefined))
            ?.status === 200,
      );
      await host.runtime(kind).stop(name, { timeoutSeconds: patientSeconds(20) });
      await host.runtime(kind).remove(name);
    }
  });
});

describe('a simulated host that forwards no TCP', () => {
  const serve = async (port: number): Promise<Server> => {
    const server = createServer((request, response) => response.end(`${request.method} ${request.url}`));
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.82.20.5', resolve));
    return server;
  };

  it('refuses as sshd does, so that the product asks by curl on the host, and says so once', async () => {
    const server = await serve(30000);
    const { fetch } = drivers.host(ref('closed'));
    for (const path of ['/one', '/two']) {
      expect(await (await fetch(`http://127.82.20.5:30000${path}`, { timeoutMs: ANSWER_MS })).text()).toBe(
        `GET ${path}`,
      );
    }
    server.closeAllConnections();
    server.close();
    expect(warnings.filter((warning) => warning.startsWith('closed '))).toEqual([
      expect.stringMatching(/^closed refuses TCP forwarding over SSH \(administratively prohibited.*curl on the host/),
    ]);
  });

  it('still tells a port that nobody listens on', async () => {
    const asked = drivers.host(ref('closed')).fetch('http://127.82.20.5:30001/', { timeoutMs: ANSWER_MS });
    await expect(asked).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('a scenario for a spec', () => {
  it('has its hosts, products and images', () => {
    const spec = ClusterSpec.parse(parse(readFileSync('specs/demo.yaml', 'utf8')));
    const scenario = Scenario.parse(scenarioFor(spec));
    expect(scenario.hosts.map(({ name, address, gpus }) => [name, address, gpus.product, gpus.count])).toEqual(
      spec.hosts.list.map(({ name, address, gpus }) => [name, address, gpus.product, gpus.count]),
    );
    expect(scenario.images.map(({ reference }) => reference)).toEqual([spec.engine.image]);
    expect(scenario.models).toEqual(['tiny-chat']);
  });
});
