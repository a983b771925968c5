import type { Command } from 'commander';
import { actorOf, jsonOption, print, withClient } from './output.ts';

export function addForget(program: Command): void {
  jsonOption(
    program
      .command('forget <name>')
      .description(
        'End the record of a destroyed cluster: `list` and `status` no longer know it. Refused while anything of it is left.',
      )
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
  ).action((name: string, { actor: given, json }: { actor?: string; json?: boolean }) => {
    const actor = actorOf(given);
    return withClient(
      json,
      async (client) => {
        await client.forget(name, { actor });
        print({ cluster: name, forgotten: true }, () => `${name} is forgotten`, json);
      },
      `${actor} tandem`,
    );
  });
}
