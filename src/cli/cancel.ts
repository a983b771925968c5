import type { Command } from 'commander';
import { withCluster } from './known.ts';
import { actorOf, EXIT, note } from './output.ts';
import { follow, followOptions, type OperationOptions } from './operation.ts';

export function addCancel(program: Command): void {
  followOptions(
    program
      .command('cancel <name>')
      .description('Cancel the running operation of a cluster and wait until it has unwound.')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine')
      .option('--reason <text>', 'why'),
  ).action((name: string, { actor, reason, ...options }: OperationOptions) =>
    withCluster(name, options.json, async (client) => {
      const admitted = await client.cancel(name, { actor: actorOf(actor), ...(reason ? { reason } : {}) });
      note(`cancelling deployment ${admitted.deployment} of ${name} …`);
      await follow(client, name, admitted, options);
      if (process.exitCode === EXIT.cancelled) process.exitCode = EXIT.done; // It was to be cancelled, and it is.
    }),
  );
}
