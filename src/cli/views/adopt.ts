import type { FoundCluster } from '../../plan/adopt.ts';

/** `adopt --json`. */
export interface AdoptView extends FoundCluster {
  readonly cluster: string;
}

export const adoptView = (cluster: string, found: FoundCluster): AdoptView => ({ cluster, ...found });

/** What was adopted, whether `file` is the spec that runs, and what was left alone. */
export function renderAdopted(
  { cluster, installation, lastDeployment, serving, differs, strangers }: AdoptView,
  file: string,
): string {
  const of = (role: string) => serving?.engines.filter((engine) => engine.role === role).length ?? 0;
  return [
    `${cluster} adopted from its hosts: installation ${installation}, last deployment ${lastDeployment}`,
    serving
      ? `  serving  ${of('prefill')} prefill and ${of('decode')} decode engines of ${serving.model} at ${serving.router.url}`
      : `  serving  nothing: no engine runs; \`tandem deploy ${file}\` or \`tandem destroy ${cluster}\` clears what is left`,
    ...(serving && serving.router.name === undefined && differs.length > 0
      ? ['  router   none was found on the hosts; this is where the spec has it']
      : []),
    ...(differs.length === 0
      ? [`  spec     ${file} is what runs`]
      : [
          `  spec     ${file} is not what runs, and the record names no spec as the one that does; a deploy of it would:`,
          ...differs.map((line) => `             ${line}`),
        ]),
    ...strangers.map((stranger) => `  left alone  ${stranger}`),
  ].join('\n');
}
