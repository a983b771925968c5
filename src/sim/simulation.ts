import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { BandwidthTests } from './bandwidth.ts';
import { startControl } from './control.ts';
import { Fault, FaultBook } from './faults.ts';
import { SimHost, type HostCounts } from './host.ts';
import { killProcesses } from './processes.ts';
import { Scenario, type ScenarioInput } from './scenario.ts';
import { newKeyPair, type SshKeyPair } from './ssh-keys.ts';
import { startToolServer } from './tool-server.ts';

export interface SimulationOptions {
  /** Folder of everything: keys, homes, containers. Host keys and disks survive a restart on the same folder. */
  readonly dir: string;
  readonly scenario: ScenarioInput;
  readonly log: (line: string) => void;
  /** Program and arguments that run src/sim/engine/main.ts; default: this Node on the built file. */
  readonly engineCommand?: readonly string[];
  /** Python that has the router; default: the .venv of this checkout. */
  readonly python?: string;
}

/** What others need to reach the simulated hosts; written to the state file. */
export interface SimulationState {
  readonly pid: number;
  /** Private key that logs in to every host. */
  readonly identityFile: string;
  readonly knownHostsFile: string;
  readonly hosts: readonly {
    readonly name: string;
    readonly address: string;
    readonly port: number;
    readonly user: string;
    /** "ssh-ed25519 AAAA…" */
    readonly hostKey: string;
    readonly home: string;
  }[];
  /** HTTP on loopback; control.ts lists what it takes. The token goes in Authorization: Bearer. */
  readonly control: { readonly url: string; readonly token: string };
}

export interface Simulation {
  readonly state: SimulationState;
  /** Replaces all faults. Throws ZodError for what is none. */
  setFaults(faults: readonly z.input<typeof Fault>[]): Promise<void>;
  addFault(fault: z.input<typeof Fault>): Promise<void>;
  counts(): Readonly<Record<string, HostCounts>>;
  /** Throws RangeError for a host that is not in the scenario. */
  host(name: string): SimHost;
  /** Ends every host, engine and process that runs on them. */
  stop(): Promise<void>;
}

/** Starts every host of a scenario in this process. */
export async function startSimulation({ scenario, log, ...options }: SimulationOptions): Promise<Simulation> {
  const dir = resolve(options.dir); // Hosts have their PATH in it, wherever their commands run.
  const whole = Scenario.parse(scenario);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const clientKey = keyPair(join(dir, 'id_ed25519'));
  const faults = new FaultBook();
  faults.replace(whole.faults);
  const tools = await startToolServer(log);
  const tests = new BandwidthTests(1000 * whole.testSecond, (address) =>
    hosts.map((host) => host.machine()).find((machine) => addressesOf(machine).includes(address)),
  );
  const keys = whole.hosts.map(({ name }) => keyPair(join(dir, 'hosts', name, 'ssh_host_ed25519_key')));
  const hosts = whole.hosts.map(
    (host, index) =>
      new SimHost({
        dir: join(dir, 'hosts', host.name),
        scenario: host,
        index,
        whole,
        hostKey: keys[index]!.private,
        clientKey: clientKey.public,
        faults,
        tools,
        tests,
        engineCommand: options.engineCommand ?? [process.execPath, builtEngine()],
        python: options.python ?? venvPython(),
        log,
      }),
  );
  const byName = new Map(hosts.map((host) => [host.scenario.name, host]));
  const refresh = () => Promise.all(hosts.map((host) => host.refreshBin()));
  const end = async () => {
    // Whatever fails here, no process is left.
    const ended = await Promise.allSettled(hosts.map((host) => host.shutDown()));
    await killProcesses(join(dir, 'hosts'));
    await tools.close();
    for (const each of ended) if (each.status === 'rejected') throw each.reason;
  };
  try {
    // What still runs from a simulator that was killed: its hosts went down with it.
    await killProcesses(join(dir, 'hosts'));
    await Promise.all(hosts.map((host) => host.start()));
  } catch (error) {
    await end();
    throw error;
  }
  const simulation = {
    setFaults: async (list: readonly z.input<typeof Fault>[]) => {
      faults.replace(z.array(Fault).parse(list));
      await refresh();
    },
    addFault: async (fault: z.input<typeof Fault>) => {
      faults.add(Fault.parse(fault));
      await refresh();
    },
    counts: () => Object.fromEntries(hosts.map((host) => [host.scenario.name, host.counts()])),
    host: (name: string) => {
      const host = byName.get(name);
      if (!host) throw new RangeError(`the scenario has no host ${name}`);
      return host;
    },
  };
  const control = await startControl(simulation);
  const knownHostsFile = join(dir, 'known_hosts');
  const state: SimulationState = {
    pid: process.pid,
    identityFile: join(dir, 'id_ed25519'),
    knownHostsFile,
    hosts: hosts.map(({ scenario: { name, address, port, user }, home }, index) => ({
      name,
      address,
      port,
      user,
      hostKey: keys[index]!.public,
      home,
    })),
    control: { url: control.url, token: control.token },
  };
  writeFileSync(
    knownHostsFile,
    state.hosts
      .map(({ address, port, hostKey }) => `${port === 22 ? address : `[${address}]:${port}`} ${hostKey}\n`)
      .join(''),
  );
  return {
    ...simulation,
    state,
    stop: async () => {
      await control.close();
      await end();
    },
  };
}

function addressesOf({ scenario, nics }: ReturnType<SimHost['machine']>): string[] {
  const { name, address, fabricAddress } = scenario;
  return [name, address, fabricAddress, ...nics.map((nic) => nic.address)].filter((each) => each !== undefined);
}

/** The key pair at a path, made when it is not there. */
function keyPair(path: string): SshKeyPair {
  if (!existsSync(path)) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const made = newKeyPair();
    writeFileSync(path, made.private, { mode: 0o600 });
    writeFileSync(`${path}.pub`, `${made.public}\n`);
  }
  return { private: readFileSync(path, 'utf8'), public: readFileSync(`${path}.pub`, 'utf8').trim() };
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Beside this file when it is built, else in dist/. */
function builtEngine(): string {
  return import.meta.url.endsWith('.ts') ? here('../../dist/src/sim/engine/main.js') : here('./engine/main.js');
}

function venvPython(): string | undefined {
  return ['../../.venv/bin/python', '../../../.venv/bin/python'].map(here).find((path) => existsSync(path));
}
