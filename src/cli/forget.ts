import type { Command } from 'commander';
import { confirmation, yesOption, type Confirmed } from './confirm.ts';
import { withCluster } from './known.ts';
import { actorOf, jsonOption, print, reporting } from './output.ts';

interface ForgetOptions extends Confirmed {
  readonly actor?: string;
  readonly json?: boolean;
}

export function addForget(program: Command): void {
  jsonOption(
    yesOption(
      program
        .command('forget <name>')
        .description(
          'End the record of a destroyed cluster: `list` and `status` no longer know it. Refused while anything of it is left.',
        )
        .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
    ),
  ).action((name: string, options: ForgetOptions) =>
    reporting(options.json, async () => {
      const ask = confirmation(name, 'forget', options);
      const actor = actorOf(options.actor);
      await withCluster(
        name,
        options.json,
        async (client) => {
          const { state, deployments } = await client.record(name);
          await ask(`${name} is ${state}; the record of its ${deployments.length} deployments ends.`);
          await client.forget(name, { actor });
          print({ cluster: name, forgotten: true }, () => `${name} is forgotten`, options.json);
        },
        `${actor} tandem`,
      );
    }),
  );
}
