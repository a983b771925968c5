import type { Command } from 'commander';
import { reporting } from './output.ts';
import { operationOptions, runOperation, type OperationOptions } from './operation.ts';
import { requireSpec } from './spec-file.ts';

export function addDeploy(program: Command): void {
  operationOptions(
    program
      .command('deploy <file>')
      .description(
        'Bring a cluster to what the spec says: provision, ROCm checks, RDMA validation, weights, prefill, decode, router, acceptance. What fails unwinds. A cluster that already is so ends unchanged.',
      ),
  ).action((file: string, options: OperationOptions) =>
    reporting(options.json, async () => {
      const { spec, specDigest } = await requireSpec(file);
      await runOperation(spec.name, { operation: 'deploy', spec, specDigest, memo: { specPath: file } }, options);
    }),
  );
}
