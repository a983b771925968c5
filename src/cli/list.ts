import type { Command } from 'commander';
import { seenCluster } from './look.ts';
import { jsonOption, print, withClient } from './output.ts';
import { listView, renderList } from './views/cluster.ts';

export function addList(program: Command): void {
  jsonOption(program.command('list').description('List all clusters with their state.')).action(
    ({ json }: { json?: boolean }) =>
      withClient(json, async (client) => {
        const names = await client.clusters();
        const views = await Promise.all(
          names.map(async (name) => {
            const { record, seen } = await seenCluster(client, name);
            return listView(record, seen);
          }),
        );
        print(views, () => renderList(views), json);
      }),
  );
}
