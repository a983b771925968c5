import type { Command } from 'commander';
import { actorOf, jsonOption, needFitting, note, reporting, withClient } from './output.ts';
import { follow } from './operation.ts';

export function addCancel(program: Command): void {
  jsonOption(
    program
      .command('cancel <name>')
      .description('Cancel the running operation of a cluster and wait until it has unwound.')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine')
      .option('--reason <text>', 'why'),
  ).action((name: string, { json, actor, reason }: { json?: boolean; actor?: string; reason?: string }) =>
    reporting(json, async () => {
      needFitting({ reason });
      const by = { actor: actorOf(actor), ...(reason ? { reason } : {}) };
      await withClient(json, async (client) => {
        const admitted = await client.cancel(name, by);
        note(`cancelling deployment ${admitted.deployment} of ${name} …`);
        await follow(client, name, admitted, json);
        if (process.exitCode === 130) process.exitCode = 0; // It was to be cancelled, and it is.
      });
    }),
  );
}
