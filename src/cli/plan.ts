import type { Command } from 'commander';
import type { Plan } from '../plan/types.ts';
import { isNoop } from '../plan/noop.ts';
import { connectClient, type TandemClient } from '../client.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { PlanQuestion } from '../operations/questions.ts';
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
      const { spec } = await requireSpec(file);
      const client = await connectClient();
      const plan = await client.ask<Plan>('plan', [await planQuestion(client, spec)]);
      print(plan, () => renderPlan(plan), json);
      if (exitCode && !isNoop(plan)) process.exitCode = EXIT.changes;
    }),
  );
}

/** What a deploy of `spec` would start from: the record of its cluster, or none yet. */
export async function planQuestion(client: TandemClient, spec: ClusterSpec): Promise<PlanQuestion> {
  const record = await client.find(spec.name);
  return {
    spec,
    cluster: spec.name,
    deployment: (record?.lastDeployment ?? 0) + 1,
    installation: record?.installation ?? 'new',
    serving: record?.serving ?? null,
  };
}
