import type { Command } from 'commander';
import { execa } from 'execa';
import { packaged } from './paths.ts';

/**
 * The Temporal worker is a program of its own: nothing else loads its native core. With a bound, V8 collects at 1.6 times
 * what is in use and not at four times: at 256 hosts that is half of its memory, and the bound is far above its need.
 */
export const WORKER_COMMAND = [process.execPath, '--max-old-space-size=1024', packaged('dist/src/worker.js')] as const;

/** npx passes on a Ctrl-C that the terminal has sent too: what comes within this time is one press, in milliseconds. */
const SAME_PRESS_MS = 500;

export function addWorker(program: Command): void {
  program
    .command('worker')
    .description(
      'Run a Temporal worker: workflows, and the activities of one site. It reaches the hosts, so keys and secrets live where it runs.',
    )
    .option('--site <name>', 'the site whose hosts it reaches', 'default')
    .addHelpText(
      'after',
      '\nSockets of its SSH connections lie in /tmp/tandem-<uid>; TANDEM_RUNTIME_DIR names another folder, with a short path.',
    )
    .action(async ({ site }: { site: string }) => {
      const [node, ...args] = WORKER_COMMAND;
      const worker = execa(node, [...args, '--site', site], { stdio: 'inherit', reject: false });
      process.on('SIGTERM', () => void worker.kill('SIGTERM'));
      let firstMs: number | undefined;
      process.on('SIGINT', () => {
        const again = firstMs !== undefined && performance.now() - firstMs > SAME_PRESS_MS;
        firstMs ??= performance.now();
        worker.kill(again ? 'SIGKILL' : 'SIGINT'); // Whoever presses twice does not want to wait for what runs.
      });
      process.exitCode = (await worker).exitCode ?? 1;
    });
}
