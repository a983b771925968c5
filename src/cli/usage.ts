import type { Command, CommanderError } from 'commander';
import { DeployError } from '../errors.ts';

/** A wrong command line, as commander tells it, as an error like every other: what is wrong, and what was meant. */
export function usageOf({ code, message }: CommanderError): DeployError {
  // Where only a part of a command line is there, commander has printed the help, and has no sentence for it.
  const said = code === 'commander.help' ? 'no verb is given' : message.replace(/^error: /, '');
  const [what, meant] = said.split('\n');
  const remedy = `${meant ? `${meant.replace(/^\(|\)$/g, '')} ` : ''}\`--help\` shows what is possible.`;
  return new DeployError({ code: 'USAGE', message: what!, remedy, retryable: false });
}

/** The words to parse: every verb knows --json, and a group of verbs, or no verb at all, only say that they are none. */
export function spoken(program: Command, words: readonly string[]): readonly string[] {
  const others = words.filter((word) => word !== '--json');
  const isGroup = program.commands.some((command) => command.commands.length > 0 && others[0] === command.name());
  return others.length > (isGroup ? 1 : 0) ? words : others;
}
