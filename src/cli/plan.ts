import type { Command } from 'commander';
import type { Plan } from '../plan/types.ts';
import { isNoop } from '../plan/noop.ts';
import { connectClient, type TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import type { ClusterRecord } from '../../workflows/messages.ts';
import { EXIT, jsonOption, print, reporting } from './output.ts';
import { requireSpec } from './spec-file.ts';
import { renderPlan } from './views/plan.ts';

export function addPlan(program: Command): void {
  jsonOption(
    program
      .command('plan <file>')
      .description('Show what a deploy would create, change and remove, where and in which order; changes nothing.')
      .option('--exit-code', 'exit 5 when there are changes'),
  ).action((file: string, { json, exitCode }: { json?: boolean; exitCode?: boolean }) =>
    reporting(json, async () => {
      const { spec, specDigest } = await requireSpec(file);
      const client = await connectClient();
      try {
        const record = await recordOf(client, spec.name);
        const plan = await client.ask<Plan>('plan', [
          {
            spec,
            specDigest,
            cluster: spec.name,
            deployment: (record?.deployments.at(-1)?.deployment ?? 0) + 1,
            installation: record?.installation ?? 'new',
            serving: record?.serving ?? null,
          },
        ]);
        print(plan, () => renderPlan(plan), json);
        if (exitCode && !isNoop(plan)) process.exitCode = EXIT.changes;
      } finally {
        await client.close();
      }
    }),
  );
}

/** The record of a cluster; undefined for one that is new. */
const recordOf = (client: TandemClient, name: string): Promise<ClusterRecord | undefined> =>
  client.record(name).catch((error: unknown) => {
    if (error instanceof DeployError && error.code === 'CLUSTER_UNKNOWN') return undefined;
    throw error;
  });
