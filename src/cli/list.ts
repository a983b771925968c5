import type { Command } from 'commander';
import { jsonOption, print, withClient } from './output.ts';
import { listView, renderList } from './views/cluster.ts';

export function addList(program: Command): void {
  jsonOption(program.command('list').description('List all clusters with their state.')).action(
    ({ json }: { json?: boolean }) =>
      withClient(json, async (client) => {
        const names = await client.clusters();
        const views = (await Promise.all(names.map((name) => client.record(name)))).map(listView);
        print(views, () => renderList(views), json);
      }),
  );
}
