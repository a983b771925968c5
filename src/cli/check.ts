import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { judgeCapture } from '../checks/capture.ts';
import type { Finding } from '../checks/check.ts';
import { DeployError } from '../errors.ts';
import type { ToolOutput } from '../facts/fact.ts';
import { connectClient } from '../client.ts';
import { EXIT, jsonOption, print, reporting } from './output.ts';
import { requireSpec } from './spec-file.ts';
import { planQuestion } from './plan.ts';
import { checkView, renderFindings } from './views/findings.ts';
import { verboseOption, type Shown } from './views/shown.ts';

export function addCheck(program: Command): void {
  jsonOption(
    verboseOption(
      program
        .command('check <file>')
        .description('Check the hosts of a spec: GPUs, drivers, ROCm, RDMA devices and links; changes nothing.')
        .option(
          '--capture <dir>',
          'judge tool outputs kept in DIR/<host>/<name>.txt instead of asking hosts; no server is needed',
        ),
    ),
  ).action((file: string, { json, capture, ...shown }: Shown & { json?: boolean; capture?: string }) =>
    reporting(json, async () => {
      const { spec } = await requireSpec(file);
      const findings = capture ? judgeCapture(await readCapture(capture), spec).findings : await askHosts(spec);
      const view = checkView(findings);
      print(view, () => renderFindings(view, shown), json);
      if (view.verdict === 'fail') process.exitCode = EXIT.failed;
    }),
  );
}

async function askHosts(spec: Awaited<ReturnType<typeof requireSpec>>['spec']): Promise<readonly Finding[]> {
  const client = await connectClient();
  return await client.ask<readonly Finding[]>('check', [await planQuestion(client, spec)]);
}

/** Reads DIR/<host>/<name>.txt with optional <name>.stderr.txt and <name>.exit.txt. Errors: USAGE. */
async function readCapture(dir: string): Promise<Record<string, Record<string, ToolOutput>>> {
  const hosts = await readdir(dir, { withFileTypes: true }).catch((cause: NodeJS.ErrnoException) => {
    throw new DeployError({
      code: 'USAGE',
      message: `the capture folder ${dir} cannot be read: ${cause.code ?? cause.message}`,
      remedy: 'Give a folder with one folder per host.',
      retryable: false,
      cause,
    });
  });
  const captured: Record<string, Record<string, ToolOutput>> = {};
  for (const host of hosts.filter((entry) => entry.isDirectory())) {
    const folder = join(dir, host.name);
    const files = await readdir(folder);
    const names = files
      .filter((name) => name.endsWith('.txt') && !/\.(stderr|exit)\.txt$/.test(name))
      .map((name) => name.slice(0, -'.txt'.length));
    captured[host.name] = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await readOutput(folder, name, files)] as const)),
    );
  }
  return captured;
}

async function readOutput(folder: string, name: string, files: readonly string[]): Promise<ToolOutput> {
  const read = async (file: string) => (files.includes(file) ? await readFile(join(folder, file), 'utf8') : '');
  const exitCode = Number.parseInt((await read(`${name}.exit.txt`)) || '0', 10);
  return { stdout: await read(`${name}.txt`), stderr: await read(`${name}.stderr.txt`), exitCode, timedOut: false };
}
