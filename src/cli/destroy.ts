import type { Command } from 'commander';
import { DeployError } from '../errors.ts';
import { reporting } from './output.ts';
import { operationOptions, runOperation, type OperationOptions } from './operation.ts';
import { requireSpec } from './spec-file.ts';

export function addDestroy(program: Command): void {
  operationOptions(
    program
      .command('destroy <name>')
      .description(
        'Take a cluster down: engines, router, leases. Goes on past a failure, names what is left, and run again finishes. Complete weights and images stay as a cache.',
      )
      .option(
        '--spec <file>',
        'the spec to find the hosts by, where the record of the cluster is lost: then all goes that they show of the one installation there',
      )
      .option(
        '--abandon-host <name>',
        'a host that is gone for ever: what it holds is named and given up; may be given again',
        (name: string, before: readonly string[]) => [...before, name],
        [] as readonly string[],
      ),
  ).action((name: string, options: OperationOptions & { spec?: string }) =>
    reporting(options.json, async () => {
      const target = options.spec ? await specOf(name, options.spec) : {};
      await runOperation(name, { operation: 'destroy', ...target }, options);
    }),
  );
}

async function specOf(name: string, file: string) {
  const { spec, specDigest } = await requireSpec(file);
  if (spec.name === name) return { spec, specDigest, memo: { specPath: file } };
  throw new DeployError({
    code: 'USAGE',
    message: `${file} is the spec of ${spec.name}, not of ${name}`,
    remedy: `Give the spec that has name: ${name}.`,
    retryable: false,
  });
}
