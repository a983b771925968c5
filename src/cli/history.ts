import type { Command } from 'commander';
import { jsonOption, print, withClient } from './output.ts';
import { historyView, renderHistory } from './views/cluster.ts';

export function addHistory(program: Command): void {
  jsonOption(
    program
      .command('history <name>')
      .description('Show who changed a cluster when, to which spec, with what result, newest first.'),
  ).action((name: string, { json }: { json?: boolean }) =>
    withClient(json, async (client) => {
      const entries = historyView(await client.record(name));
      print(entries, () => renderHistory(entries), json);
    }),
  );
}
