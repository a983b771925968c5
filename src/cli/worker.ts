import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { execa } from 'execa';

/** The Temporal worker is a program of its own: nothing else loads its native core. */
export const WORKER_PROGRAM = fileURLToPath(new URL('../worker.js', import.meta.url));

export function addWorker(program: Command): void {
  program
    .command('worker')
    .description(
      'Run a Temporal worker: workflows, and the activities of one site. It reaches the hosts, so keys and secrets live where it runs.',
    )
    .option('--site <name>', 'the site whose hosts it reaches', 'default')
    .action(async ({ site }: { site: string }) => {
      const worker = execa(process.execPath, [WORKER_PROGRAM, '--site', site], { stdio: 'inherit', reject: false });
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void worker.kill(signal));
      process.exitCode = (await worker).exitCode ?? 1;
    });
}
