import type { Command } from 'commander';

/** What the help of each verb shows as it is used: the command line, and what it is for. */
const EXAMPLES: Readonly<Record<string, readonly (readonly [line: string, purpose: string])[]>> = {
  validate: [
    ['validate specs/demo.yaml', 'errors and warnings, each at its line'],
    ['validate - < spec.yaml', 'of what another program writes'],
  ],
  plan: [
    ['plan specs/demo.yaml', 'what a deploy would do'],
    ['plan specs/demo.yaml --exit-code', 'for scripts: 5 where there are changes'],
  ],
  deploy: [
    ['deploy specs/demo.yaml --reason "two more decode engines"', 'follow it to its end'],
    ['deploy specs/demo.yaml --detach --json', 'return once it is admitted'],
  ],
  list: [['list', 'every cluster that Temporal here knows']],
  status: [
    ['status demo', 'what serves, and what runs'],
    ['status demo --watch', 'again whenever it changes; Ctrl-C ends it'],
  ],
  history: [['history demo --json', 'every deployment, newest first']],
  destroy: [
    ['destroy demo', 'asks for the name before it begins'],
    ['destroy demo --yes --reason "moved to the new hosts"', 'from a script'],
    ['destroy demo --yes --spec specs/demo.yaml', 'where its record is lost'],
  ],
  cancel: [['cancel demo --reason "wrong model"', 'end what runs, and wait until it has unwound']],
  adopt: [['adopt specs/demo.yaml', 'of a cluster whose record was lost with Temporal’s database']],
  forget: [['forget demo', 'after a destroy; asks for the name']],
  'lease list': [['lease list specs/demo.yaml', 'who holds which GPU']],
  'lease break': [
    ['lease break specs/demo.yaml --host prefill-0 --cluster old --reason "its Temporal is gone"', 'of a lost cluster'],
  ],
  logs: [
    ['logs demo --engine prefill-0 --tail 200', 'of one engine'],
    ['logs demo --engine router --follow', 'of the router, as it writes them'],
    ['logs demo --deployment 3', 'of what deployment 3 started and removed when it failed'],
  ],
  check: [
    ['check specs/demo.yaml', 'of the hosts as they are'],
    ['check specs/demo.yaml --capture captures', 'of what tools printed elsewhere'],
  ],
  worker: [['worker --site default', 'where the hosts can be reached, with the SSH keys']],
  'local up': [['local up --demo', 'with a cluster on the simulated hosts']],
  'local down': [['local down', 'the data stay']],
  sim: [['sim', 'addresses, user and key of the simulated hosts']],
  schema: [['schema > tandem.schema.json', 'for an editor']],
  doctor: [
    ['doctor', 'of this machine and Temporal'],
    ['doctor specs/demo.yaml', 'of the hosts as well'],
  ],
};

/** The example of a verb, for the end of its help. */
export function exampleOf(verb: Command): string {
  const name = verb.parent?.parent ? `${verb.parent.name()} ${verb.name()}` : verb.name();
  const rows = EXAMPLES[name] ?? [];
  return [
    '',
    rows.length > 1 ? 'Examples:' : 'Example:',
    ...rows.map(([line, why]) => `  tandem ${line}\n      ${why}`),
  ].join('\n');
}
