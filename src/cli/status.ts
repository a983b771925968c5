import { fstatSync } from 'node:fs';
import type { Command } from 'commander';
import { targetOf } from '../../workflows/record.ts';
import type { TandemClient } from '../client.ts';
import { untilCtrlC } from './ends.ts';
import { withCluster } from './known.ts';
import { EXIT, jsonOption, print, printLine } from './output.ts';
import { renderStatus, statusView, type StatusView } from './views/cluster.ts';
import { verboseOption, type Shown } from './views/shown.ts';

const WATCH_EVERY_MS = 2_000;
/** A pipe whose reader has gone is noticed by writing to it alone: it gets the same again after this time, in milliseconds. */
const PIPE_EVERY_MS = 10_000;

export function addStatus(program: Command): void {
  jsonOption(
    verboseOption(
      program
        .command('status <name>')
        .description('Show what serves, what runs and whether each engine is healthy.')
        .option(
          '--watch',
          'show it again whenever it changes (into a pipe every 10 s too), until Ctrl-C; with --json one line each',
        ),
    ),
  ).action((name: string, { json, watch, ...shown }: Shown & { json?: boolean; watch?: boolean }) =>
    withCluster(name, json, async (client) => {
      if (!watch) {
        const view = await readStatus(client, name);
        print(view, () => renderStatus(view, shown), json);
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

/** The record with the health of each engine as its host shows it now; unknown where no worker or host answers. */
async function readStatus(client: TandemClient, name: string): Promise<StatusView> {
  const record = await client.record(name);
  const [progress, health] = await Promise.all([
    record.running ? client.progress(record.running.workflowId) : undefined,
    record.serving
      ? client
          .ask<Record<string, boolean | null>>('health', [
            { serving: record.serving, spec: targetOf({}, record)?.spec },
          ])
          .catch(() => ({}))
      : {},
  ]);
  return statusView(record, progress?.stage ?? '', health);
}
