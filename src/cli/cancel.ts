import type { Command } from 'commander';
import { withCluster } from './known.ts';
import { actorOf, EXIT, needFitting, note, reporting } from './output.ts';
import { follow, followOptions, type OperationOptions } from './operation.ts';

export function addCancel(program: Command): void {
  followOptions(
    program
      .command('cancel <name>')
      .description('Cancel the running operation of a cluster and wait until it has unwound.')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine')
      .option('--reason <text>', 'why')
      .option(
        '--force',
        'end one that cannot unwind any more, as `status` says (blocked): nothing is undone, and the next deploy or destroy goes on from what the hosts show',
      ),
  ).action((name: string, { actor, reason, force = false, ...options }: OperationOptions & { force?: boolean }) =>
    reporting(options.json, async () => {
      needFitting({ reason });
      const by = { actor: actorOf(actor), ...(reason ? { reason } : {}) };
      await withCluster(name, options.json, async (client) => {
        const admitted = await client.cancel(name, by, { force });
        note(`${force ? 'ending by force' : 'cancelling'} deployment ${admitted.deployment} of ${name} …`);
        const ended = await follow(client, name, admitted, options);
        // It was to be ended, and it is.
        if (ended.outcome === 'cancelled' || ended.failed?.code === 'FORCED') process.exitCode = EXIT.done;
      });
    }),
  );
}
