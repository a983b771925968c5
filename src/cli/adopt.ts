import type { Command } from 'commander';
import type { FoundCluster } from '../plan/adopt.ts';
import { actorOf, jsonOption, needFitting, note, print, reporting, withClient } from './output.ts';
import { requireSpec } from './spec-file.ts';
import { adoptView, renderAdopted } from './views/adopt.ts';

interface AdoptOptions {
  readonly installation?: string;
  readonly reason?: string;
  readonly actor?: string;
  readonly json?: boolean;
}

export function addAdopt(program: Command): void {
  jsonOption(
    program
      .command('adopt <file>')
      .description(
        'Rebuild the lost record of a cluster from what the hosts of the spec show. Changes nothing on the hosts.',
      )
      .option('--installation <id>', 'which one, where the hosts show several')
      .option('--reason <text>', 'why; kept in the history')
      .option('--actor <name>', 'who asks; default TANDEM_ACTOR, else user@machine (self-asserted)'),
  ).action((file: string, { installation, reason, actor: given, json }: AdoptOptions) =>
    reporting(json, async () => {
      needFitting({ reason });
      const { spec, specDigest } = await requireSpec(file);
      const actor = actorOf(given);
      await withClient(
        json,
        async (client) => {
          note(`looking at ${spec.hosts.list.length} hosts …`);
          const found = await client.ask<FoundCluster>('adoption', [
            { spec, ...(installation ? { installation } : {}) },
          ]);
          const { serving, lastDeployment } = found;
          await client.adopt(spec.name, {
            installation: found.installation,
            lastDeployment,
            serving,
            spec,
            specDigest,
            actor,
            ...(reason ? { reason } : {}),
          });
          const view = adoptView(spec.name, found);
          print(view, () => renderAdopted(view, file), json);
        },
        `${actor} tandem`,
      );
    }),
  );
}
