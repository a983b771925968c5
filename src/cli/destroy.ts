import type { Command } from 'commander';
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
      .option('--spec <file>', 'the spec to find the hosts by, where the record of the cluster is lost'),
  ).action((name: string, options: OperationOptions & { spec?: string }) =>
    reporting(options.json, async () => {
      const target = options.spec ? { ...(await requireSpec(options.spec)), memo: { specPath: options.spec } } : {};
      await runOperation(name, { operation: 'destroy', ...target }, options);
    }),
  );
}
