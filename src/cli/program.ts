import { Command } from 'commander';
import { addAdopt } from './adopt.ts';
import { addCancel } from './cancel.ts';
import { addCheck } from './check.ts';
import { addDeploy } from './deploy.ts';
import { addDestroy } from './destroy.ts';
import { addDoctor } from './doctor.ts';
import { addForget } from './forget.ts';
import { addHistory } from './history.ts';
import { addLease } from './lease.ts';
import { addList } from './list.ts';
import { addLocal } from './local.ts';
import { addLogs } from './logs.ts';
import { exampleOf } from './examples.ts';
import { addPlan } from './plan.ts';
import { addSchema } from './schema.ts';
import { addSim } from './sim.ts';
import { addStatus } from './status.ts';
import { addValidate } from './validate.ts';
import { addWorker } from './worker.ts';

/** The command line: every verb, with its help. What it throws for a wrong one is a CommanderError. */
export function createProgram(version: string): Command {
  const program = new Command('tandem')
    .description(
      'Deploys and operates prefill/decode-disaggregated SGLang clusters on AMD GPUs, by durable Temporal workflows.',
    )
    .version(version)
    .exitOverride() // Set before the verbs are added, which take it over.
    .configureOutput({ outputError: () => {} }) // What is wrong with a command line `usageOf` tells, as every other error.
    .configureHelp({ showGlobalOptions: true })
    .addHelpText(
      'after',
      `
A first walk:
  tandem local up                     a Temporal server, a worker and six simulated hosts on this machine
  tandem validate specs/demo.yaml     errors of a spec, without contacting anything
  tandem plan specs/demo.yaml         what would be where
  tandem deploy specs/demo.yaml       make it so; what fails unwinds
  tandem status demo                  what serves
  tandem history demo                 who changed what when, and how it ended
  tandem destroy demo                 asks before; --yes where there is no terminal

FILE may be - for standard input. Ctrl-C while an operation is followed lets it go on; \`tandem cancel\` ends it.
Exit codes: 0 done; 1 failed and unwound, or refused; 2 wrong usage or spec; 3 stuck: something is left behind;
4 Temporal or its worker not reachable, nothing will happen later; 5 plan --exit-code has changes, or status --exit-code not all as recorded;
6 detached by Ctrl-C while the operation goes on; 130 the operation ended cancelled.
Temporal is found by TEMPORAL_* or temporal.toml, else it is the running local stack.`,
    );

  for (const add of [
    addValidate,
    addPlan,
    addDeploy,
    addList,
    addStatus,
    addHistory,
    addDestroy,
    addCancel,
    addAdopt,
    addForget,
    addLease,
    addLogs,
    addCheck,
    addWorker,
    addLocal,
    addSim,
    addSchema,
    addDoctor,
  ]) {
    add(program);
  }
  for (const verb of program.commands.flatMap((command) =>
    command.commands.length > 0 ? command.commands : [command],
  ))
    verb.addHelpText('after', exampleOf(verb));
  return program;
}
