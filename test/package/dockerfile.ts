import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** One instruction of a Dockerfile: its word and the rest, continued lines as one. */
export interface Instruction {
  readonly word: string;
  readonly rest: string;
}

export interface Stage {
  readonly image: string;
  readonly steps: readonly Instruction[];
}

/** The stages of the Dockerfile of `root`. */
export async function stagesOf(root: string): Promise<readonly Stage[]> {
  const text = (await readFile(join(root, 'Dockerfile'), 'utf8')).replaceAll('\\\n', ' ');
  const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  const stages: { image: string; steps: Instruction[] }[] = [];
  for (const line of lines) {
    const [word = '', ...rest] = line.split(/\s+/);
    if (word === 'FROM') stages.push({ image: rest[0]!, steps: [] });
    else stages.at(-1)!.steps.push({ word, rest: rest.join(' ') });
  }
  return stages;
}

/** What .dockerignore lets into the build, as it is written here: everything is kept out but what is named. */
export async function buildContext(root: string): Promise<readonly string[]> {
  const lines = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n');
  const rules = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (rules[0] !== '*' || rules.slice(1).some((rule) => !/^![\w./-]+$/.test(rule)))
    throw new Error(`.dockerignore has rules that this cannot read: ${rules.join(', ')}`);
  return rules.slice(1).map((rule) => rule.slice(1));
}
