import { engineOf, type Run } from './call.ts';
import { DockerError } from './command.ts';
import { containerJson } from './container.ts';
import type { DockerEngine } from './engine.ts';
import { format } from './format.ts';
import { findImage, imageJson } from './images.ts';

/** docker inspect, of containers, images, or whatever has the name. */
export function inspect(it: Run, type: string | undefined): number {
  const { flags, call } = it;
  const engine = engineOf(
    it,
    type === 'image' ? `images/${it.flags.words[0]}/json` : `containers/${it.flags.words[0]}/json`,
  );
  const found: object[] = [];
  const errors: string[] = [];
  for (const word of flags.words) {
    const element = inspected(engine, word, type);
    if (element) found.push(element);
    else
      errors.push(
        type === 'image'
          ? `Error response from daemon: No such image: ${word}\n`
          : type === 'container'
            ? `Error response from daemon: No such container: ${word}\n`
            : `Error: No such object: ${word}\n`,
      );
  }
  const template = flags.value('format');
  if (template !== undefined) call.stdout(found.map((element) => `${format(template, element)}\n`).join(''));
  else call.stdout(`${JSON.stringify(found, null, 4)}\n`);
  call.stderr(errors.join(''));
  return errors.length > 0 ? 1 : 0;
}

/** What `inspect` shows of one name; undefined when nothing has it. */
export function inspected(engine: DockerEngine, word: string, type: string | undefined): object | undefined {
  if (type !== 'image') {
    try {
      return containerJson(engine.find(word));
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
    }
  }
  const image = type === 'container' ? undefined : findImage(engine.images, word);
  return image && imageJson(image);
}
