import type { Command } from 'commander';
import { targetOf } from '../../workflows/record.ts';
import { DeployError } from '../errors.ts';
import { withCluster } from './known.ts';
import { jsonOption, print } from './output.ts';

export function addLogs(program: Command): void {
  jsonOption(
    program
      .command('logs <name>')
      .description('Show the last lines of the engines’ and the router’s output.')
      .option(
        '--engine <engine>',
        'only this engine, by its name in `status`, or as prefill-0; "router" for the router',
      )
      .option('--tail <lines>', 'lines of each', (value) => Number.parseInt(value, 10), 50),
  ).action((name: string, { json, engine, tail }: { json?: boolean; engine?: string; tail: number }) =>
    withCluster(name, json, async (client) => {
      const record = await client.record(name);
      const { serving } = record;
      const names = serving
        ? [...serving.engines.map((row) => row.name), ...(serving.router.name ? [serving.router.name] : [])]
        : [];
      const wanted = names.filter(
        (row) => engine === undefined || row === engine || row.startsWith(`tandem-${name}-${engine}-`),
      );
      if (!serving || wanted.length === 0) {
        throw new DeployError({
          code: 'USAGE',
          message: engine ? `${name} has no engine ${engine}` : `${name} serves nothing`,
          remedy: names.length > 0 ? `There are: ${names.join(', ')}.` : `See \`tandem status ${name}\`.`,
          retryable: false,
        });
      }
      const logs = await client.ask<Record<string, string>>('logs', [
        { serving, spec: targetOf({}, record)?.spec, names: wanted, tailLines: tail },
      ]);
      print(
        logs,
        () =>
          Object.entries(logs)
            .map(([unit, text]) => `==> ${unit}\n${text.trimEnd()}`)
            .join('\n'),
        json,
      );
    }),
  );
}
