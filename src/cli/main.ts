#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { endWithReader } from './ends.ts';
import { EXIT, report } from './output.ts';
import { packaged } from './paths.ts';
import { createProgram } from './program.ts';
import { spoken, usageOf } from './usage.ts';

const { version } = JSON.parse(readFileSync(packaged('package.json'), 'utf8')) as {
  version: string;
};

endWithReader();
const words = process.argv.slice(2);
const program = createProgram(version);
try {
  await program.parseAsync(spoken(program, words), { from: 'user' });
} catch (error) {
  if (error instanceof CommanderError && error.exitCode === 0) process.exitCode = EXIT.done;
  else report(error instanceof CommanderError ? usageOf(error) : error, words.includes('--json'));
}
// Connections end with the process: a call that was given up may be tried again, and on a closed one that ends in a stack.
setImmediate(() => process.exit());
