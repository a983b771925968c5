import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { localDir } from '../connection.ts';
import { DeployError } from '../errors.ts';
import { jsonOption, print, reporting } from './output.ts';

export function addSim(program: Command): void {
  jsonOption(
    program.command('sim').description('Show the simulated hosts of the local stack and how to log in to them.'),
  ).action(({ json }: { json?: boolean }) =>
    reporting(json, async () => {
      const file = join(localDir(), 'sim', 'state.json');
      const text = await readFile(file, 'utf8').catch((cause: unknown) => {
        throw new DeployError({
          code: 'USAGE',
          message: 'no simulated hosts are running',
          remedy: 'Start them with `tandem local up`.',
          retryable: false,
          cause,
        });
      });
      print(JSON.parse(text), () => text, json);
    }),
  );
}
