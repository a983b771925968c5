import { fstatSync } from 'node:fs';
import type { Command } from 'commander';
import type { TandemClient } from '../client.ts';
import { untilCtrlC } from './ends.ts';
import { withCluster } from './known.ts';
import { seenCluster } from './look.ts';
import { EXIT, jsonOption, print, printLine } from './output.ts';
import { isAsRecorded, renderStatus, statusView, type StatusView } from './views/cluster.ts';
import { verboseOption, type Shown } from './views/shown.ts';

const WATCH_EVERY_MS = 2_000;
/** A pipe whose reader has gone is noticed by writing to it alone: it gets the same again after this time, in milliseconds. */
const PIPE_EVERY_MS = 10_000;

interface StatusOptions extends Shown {
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly exitCode?: boolean;
}

export function addStatus(program: Command): void {
  jsonOption(
    verboseOption(
      program
        .command('status <name>')
        .description('Show what serves, what runs and whether each engine is healthy.')
        .option(
          '--watch',
          'show it again whenever it changes (into a pipe every 10 s too), until Ctrl-C; with --json one line each',
        )
        .option('--exit-code', 'exit 5 unless all is as recorded: serving, every engine healthy, the router answering'),
    ),
  ).action((name: string, { json, watch, exitCode, ...shown }: StatusOptions) =>
    withCluster(name, json, async (client) => {
      if (!watch) {
        const view = await readStatus(client, name);
        print(view, () => renderStatus(view, shown), json);
        if (exitCode && !isAsRecorded(view)) process.exitCode = EXIT.changes;
        return;
      }
      // Watching ends when somebody has seen enough: that is no failure, whoever says it, and how.
      await untilCtrlC({ exitCode: EXIT.done, farewell: () => {} }, async () => {
        const again = fstatSync(process.stdout.fd).isFIFO() ? PIPE_EVERY_MS : Infinity;
        for (let last = '', shownAtMs = 0; ;) {
          const view = await readStatus(client, name);
          const text = json ? JSON.stringify(view) : renderStatus(view, shown);
          if (text !== last || performance.now() - shownAtMs > again) {
            printLine(view, () => text, json);
            shownAtMs = performance.now();
          }
          last = text;
          await new Promise((resolve) => setTimeout(resolve, WATCH_EVERY_MS));
        }
      });
    }),
  );
}

const readStatus = async (client: TandemClient, name: string): Promise<StatusView> => {
  const { record, seen } = await seenCluster(client, name);
  return statusView(record, seen);
};
