import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import type { ScenarioInput } from '../../src/sim/scenario.ts';
import { startSimulation, type Simulation } from '../../src/sim/simulation.ts';
import { ANSWER_MS } from './patience.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Runs TypeScript files as processes of their own, as the build would. */
export const NODE_TS = [process.execPath, '--import', here('./ts-loader.mjs')] as const;

export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | undefined;
}

export interface TestSimulation extends Simulation {
  readonly dir: string;
  /** Logs in with the real OpenSSH client and runs a command line. */
  ssh(
    host: string,
    command: string,
    options?: { readonly input?: string; readonly args?: readonly string[]; readonly timeout?: number },
  ): Promise<Answer>;
  /** Arguments of ssh that lead to the host, host name last. */
  sshArgs(host: string): readonly string[];
}

/** Hosts in a folder of their own, which `stop` deletes. */
export async function simulate(scenario: ScenarioInput, dir?: string): Promise<TestSimulation> {
  const folder = dir ?? (await mkdtemp(join(tmpdir(), 'tandem-sim-')));
  const simulation = await startSimulation({
    dir: folder,
    scenario: { timing: { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 50 }, testSecond: 0.03, ...scenario },
    log: (line) => process.stderr.write(`${line}\n`),
    engineCommand: [...NODE_TS, here('../../src/sim/engine/main.ts')],
  }).catch(async (error: unknown) => {
    if (dir === undefined) await rm(folder, { recursive: true, force: true });
    throw error;
  });
  const sshArgs = (name: string) => {
    const host = simulation.state.hosts.find((one) => one.name === name)!;
    return [
      '-F',
      'none',
      '-o',
      'BatchMode=yes',
      '-o',
      `UserKnownHostsFile=${simulation.state.knownHostsFile}`,
      '-o',
      'StrictHostKeyChecking=yes',
      '-o',
      'GlobalKnownHostsFile=none',
      '-o',
      'IdentitiesOnly=yes',
      '-i',
      simulation.state.identityFile,
      '-p',
      String(host.port),
      `${host.user}@${host.address}`,
    ];
  };
  return {
    ...simulation,
    dir: folder,
    sshArgs,
    ssh: async (name, command, { input = '', args = [], timeout = ANSWER_MS } = {}) => {
      const { stdout, stderr, exitCode } = await execa('ssh', [...args, ...sshArgs(name), command], {
        input,
        reject: false,
        stripFinalNewline: false,
        timeout,
      });
      return { stdout, stderr, exitCode };
    },
    stop: async () => {
      await simulation.stop();
      if (dir === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** `count` hosts of a test's own addresses, 127.82.<block>.1 and up. */
export const hosts = (block: number, count: number, extra: object = {}): ScenarioInput['hosts'] =>
  Array.from({ length: count }, (_, index) => ({
    name: `host-${index}`,
    address: `127.82.${block}.${index + 1}`,
    ...extra,
  }));
