import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, type Command } from 'commander';
import type { HostLogs, LogsQuestion } from '../operations/questions.ts';
import { type ClusterRecord, targetOf } from '../operations/record.ts';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import { untilCtrlC } from './ends.ts';
import { newLines } from './follow-logs.ts';
import { withCluster } from './known.ts';
import { EXIT, jsonOption, note, print, printLine } from './output.ts';

interface LogsOptions {
  readonly json?: boolean;
  readonly engine?: string;
  readonly deployment?: number;
  readonly follow?: boolean;
  readonly tail: number;
}

/** How often a log that is followed is read, and how much of it: lines that come faster are said to be missing. */
const FOLLOW_EVERY_MS = 2_000;
const FOLLOW_LINES = 1_000;

export function addLogs(program: Command): void {
  jsonOption(
    program
      .command('logs <name>')
      .description(
        'Show the last lines of what engines and router wrote, those that start included. Of a deployment that failed its last 5,000 lines are kept on the hosts: --deployment shows them.',
      )
      .option('--engine <engine>', 'only this engine, by its name or as prefill-0; "router" for the router')
      .option('--deployment <number>', 'only what this deployment made, also what was removed when it failed', whole)
      .option('--tail <lines>', 'lines of each', whole, 50)
      .option('-f, --follow', 'go on with what is written, until Ctrl-C; with --json a line each time'),
  ).action((name: string, options: LogsOptions) =>
    withCluster(name, options.json, async (client) => {
      const { json, tail, follow } = options;
      const read = async (tailLines: number) =>
        needLogs(name, options, await logsOf(client, await client.record(name), name, { ...options, tailLines }));
      if (!follow) {
        const logs = await read(tail);
        print(logs, () => headed(logs), json);
        return;
      }
      await untilCtrlC({ exitCode: EXIT.done, farewell: () => {} }, () => followed(read, options));
    }),
  );
}

/** A number from 1 on. */
function whole(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A whole number from 1 on is wanted.');
}

async function logsOf(
  client: TandemClient,
  record: ClusterRecord,
  name: string,
  { engine, deployment, tailLines }: LogsOptions & { readonly tailLines: number },
): Promise<HostLogs> {
  const { deployments, specs, serving, installation } = record;
  const entry = deployments.findLast((one) => deployment === undefined || one.deployment === deployment);
  const spec = (entry && specs[entry.specDigest]) ?? targetOf({}, record)?.spec;
  if (!entry || !spec) {
    const [first, last] = [deployments[0], deployments.at(-1)];
    throw new DeployError({
      code: 'USAGE',
      message: deployment === undefined ? `${name} was never deployed` : `${name} has no deployment ${deployment}`,
      remedy:
        first && last
          ? `\`tandem history ${name}\` has ${first === last ? '' : `${first.deployment} to `}${last.deployment}.`
          : `Deploy it: \`tandem deploy FILE\`.`,
      retryable: false,
    });
  }
  const question: LogsQuestion = {
    spec,
    serving,
    installation,
    tailLines,
    ...(engine === undefined ? {} : { unit: engine }),
    ...(deployment === undefined ? {} : { deployment }),
  };
  return await client.ask<HostLogs>('logs', [question]);
}

/** The logs, where there are some. Errors: USAGE, saying what there is. */
function needLogs(name: string, { engine, deployment }: LogsOptions, { names, logs }: HostLogs): HostLogs['logs'] {
  if (Object.keys(logs).length > 0) return logs;
  const what = engine === undefined ? 'no engine and no router' : `no ${engine}`;
  throw new DeployError({
    code: 'USAGE',
    message: `the hosts of ${name} have ${what}${deployment === undefined ? '' : ` of deployment ${deployment}, and no log of one`}`,
    remedy:
      names.length > 0
        ? `There are: ${names.join(', ')}.`
        : deployment === undefined
          ? `See \`tandem status ${name}\`; logs of a deployment that failed are shown by --deployment.`
          : 'Hosts keep the logs of the last ten deployments that failed, 50 MiB at most.',
    retryable: false,
  });
}

const headed = (logs: HostLogs['logs']): string =>
  Object.entries(logs)
    .map(([unit, text]) => `==> ${unit}\n${text.trimEnd()}`)
    .join('\n');

/** Shows the last lines of each, then what is new; a heading says whose lines follow. */
async function followed(
  read: (tailLines: number) => Promise<HostLogs['logs']>,
  { tail, json }: LogsOptions,
): Promise<void> {
  const before = new Map<string, readonly string[]>();
  let shown = '';
  for (;;) {
    for (const [unit, text] of Object.entries(await read(Math.max(FOLLOW_LINES, tail)))) {
      const lines = text.trimEnd().split('\n');
      const known = before.get(unit);
      const found = known ? newLines(known, lines) : lines.slice(-tail);
      if (found === undefined) note(`${unit}: more was written than is read at once; lines are missing here`);
      const added = found ?? lines;
      before.set(unit, lines);
      if (added.length === 0) continue;
      printLine({ unit, lines: added }, () => [...(unit === shown ? [] : [`==> ${unit}`]), ...added].join('\n'), json);
      shown = unit;
    }
    await sleep(FOLLOW_EVERY_MS);
  }
}
