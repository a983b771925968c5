import type { Command } from 'commander';
import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import { confirmation, yesOption, type Ask, type Confirmed } from './confirm.ts';
import { reporting } from './output.ts';
import { operationOptions, runOperation, type OperationOptions } from './operation.ts';
import { requireSpec } from './spec-file.ts';

export function addDestroy(program: Command): void {
  yesOption(
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
        )
        .option(
          '--purge',
          'delete what would stay on the hosts, too: the logs that were kept of failed deployments, and complete weights where no lease says that somebody uses the host; images stay',
        ),
    ),
  ).action((name: string, options: OperationOptions & Confirmed & { spec?: string; purge?: boolean }) =>
    reporting(options.json, async () => {
      const ask = confirmation(name, 'destroy', options);
      const target = options.spec ? await specOf(name, options.spec) : {};
      const purge = options.purge ? { purge: true } : {};
      await runOperation(name, { operation: 'destroy', ...target, ...purge }, options, (client) =>
        options.spec
          ? ask(`All that the hosts of ${options.spec} show of ${name} goes.`)
          : askOfRecord(client, name, ask),
      );
    }),
  );
}

/** A request makes an entity where there is none, so a name that nobody knows is refused before. Errors: CLUSTER_UNKNOWN. */
async function askOfRecord(client: TandemClient, name: string, ask: Ask): Promise<void> {
  const record = await client.find(name);
  if (!record)
    throw new DeployError({
      code: 'CLUSTER_UNKNOWN',
      message: `no cluster ${name} is known`,
      remedy: `\`tandem list\` shows the known ones. Where its record is lost, give its spec: \`tandem destroy ${name} --spec FILE\`.`,
      retryable: false,
    });
  const { state, serving } = record;
  const engines = serving
    ? `${serving.engines.length} engines of ${serving.model} at ${serving.router.url} stop`
    : 'no engine serves';
  await ask(`${name} is ${state}: ${engines}; what it holds on its hosts goes.`);
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
