import type { Command } from 'commander';
import { withCluster } from './known.ts';
import { jsonOption, print } from './output.ts';
import { historyView, renderHistory } from './views/cluster.ts';
import { verboseOption, type Shown } from './views/shown.ts';

export function addHistory(program: Command): void {
  jsonOption(
    verboseOption(
      program
        .command('history <name>')
        .description('Show who changed a cluster when, to which spec, with what result, newest first.'),
    ),
  ).action((name: string, { json, ...shown }: Shown & { json?: boolean }) =>
    withCluster(name, json, async (client) => {
      const entries = historyView(await client.record(name));
      print(entries, () => renderHistory(entries, shown), json);
    }),
  );
}
