import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Simulation } from '../../src/sim/simulation.ts';
import { alive } from '../support/processes.ts';

/** Looks at hosts all the time for what must never be there twice. */
export interface Watch {
  /** What was seen, a line each; ends the looking. */
  stop(): Promise<readonly string[]>;
}

const LOOK_EVERY_MS = 100;

/**
 * At no time two running containers share a GPU or two starts of one named job live; in all, a name is given to one
 * container only, and a job is started once, or once more after its host went down (`reboots`).
 */
export function watchFor(simulation: Simulation, hosts: readonly string[], reboots: (host: string) => number): Watch {
  const seen = new Set<string>();
  const made = Object.fromEntries(hosts.map((host) => [host, simulation.counts()[host]!.containersByName]));
  const starts = new Map<string, number>();
  let over = false;
  const look = async () => {
    for (const host of hosts) {
      const users = new Map<string, string>();
      for (const { name, state, config } of simulation.host(host).docker.containers.values()) {
        if (state.status !== 'running') continue;
        for (const gpu of (config.labels['tandem.gpus'] ?? '').split(',').filter((each) => each !== '')) {
          const other = users.get(gpu);
          if (other !== undefined) seen.add(`${host}: GPU ${gpu} is used by ${other} and ${name} at once`);
          users.set(gpu, name);
        }
      }
      const jobs = join(simulation.host(host).home, '.tandem/jobs');
      for (const job of await readdir(jobs).catch(() => [])) {
        if (job.startsWith('.')) continue;
        const turns = (await readdir(join(jobs, job)).catch(() => [])).filter((each) => /^\d+$/.test(each));
        const pids = await Promise.all(
          turns.map((turn) => readFile(join(jobs, job, turn, 'pid'), 'utf8').catch(() => '')),
        );
        const living = pids.filter((text) => text !== '' && alive(Number(text.split(' ')[0])));
        if (living.length > 1) seen.add(`${host}: job ${job} runs ${living.length} times at once`);
        const key = `${host} ${job}`;
        starts.set(key, Math.max(starts.get(key) ?? 0, turns.length));
      }
    }
  };
  const looking = (async () => {
    while (!over) {
      await look();
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  })();
  return {
    stop: async () => {
      over = true;
      await looking;
      await look();
      for (const host of hosts) {
        for (const [name, count] of Object.entries(simulation.counts()[host]!.containersByName)) {
          const more = count - (made[host]![name] ?? 0);
          if (more > 1) seen.add(`${host}: container ${name} was made ${more} times`);
        }
      }
      for (const [key, count] of starts) {
        const [host = '', job] = key.split(' ');
        if (count > 1 + reboots(host)) seen.add(`${host}: job ${job} was started ${count} times`);
      }
      return [...seen];
    },
  };
}
