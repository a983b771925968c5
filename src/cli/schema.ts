import type { Command } from 'commander';
import { specJsonSchema } from '../spec/json-schema.ts';
import { print } from './output.ts';

export function addSchema(program: Command): void {
  program
    .command('schema')
    .description(
      'Print the JSON Schema of spec files, with the meaning of every key; editors use it by a first line "# yaml-language-server: $schema=FILE".',
    )
    .option('--json', 'it is always JSON')
    .action(() => print(specJsonSchema(), () => '', true));
}
