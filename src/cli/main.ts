#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
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
import { EXIT, note, report } from './output.ts';
import { packaged } from './paths.ts';
import { addPlan } from './plan.ts';
import { addSchema } from './schema.ts';
import { addSim } from './sim.ts';
import { addStatus } from './status.ts';
import { addValidate } from './validate.ts';
import { addWorker } from './worker.ts';

const { version } = JSON.parse(readFileSync(packaged('package.json'), 'utf8')) as {
  version: string;
};

const program = new Command('tandem')
  .description(
    'Deploys and operates prefill/decode-disaggregated SGLang clusters on AMD GPUs, by durable Temporal workflows.',
  )
  .version(version)
  .showHelpAfterError('(--help shows what is possible)')
  .configureHelp({ showGlobalOptions: true })
  // Commander quotes what was typed.
  .configureOutput({ writeErr: note })
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
  tandem destroy demo

Exit codes: 0 done; 1 failed and unwound, or refused; 2 wrong usage or spec; 3 stuck: something is left behind;
4 Temporal or its worker not reachable, nothing will happen later; 5 plan --exit-code has changes; 130 cancelled.
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
for (const command of [program, ...program.commands, ...program.commands.flatMap(({ commands }) => commands)])
  command.exitOverride();

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  else report(error, process.argv.includes('--json'));
}
