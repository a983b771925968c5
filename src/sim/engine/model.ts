import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';

/** What an engine takes from a model folder. */
export interface Model {
  /** sha256 over names, sizes and contents of its files: two copies of one revision have the same, two revisions do not. */
  readonly contentId: string;
  readonly contextLength: number;
  readonly modelType: string;
  readonly architectures: readonly string[];
}

/** Reads the folder; undefined when it is none or holds no config.json. */
export async function readModel(folder: string): Promise<Model | undefined> {
  const config = await readFile(join(folder, 'config.json'), 'utf8').catch(() => undefined);
  if (config === undefined) return undefined;
  const { max_position_embeddings, model_type, architectures } = JSON.parse(config) as {
    max_position_embeddings?: number;
    model_type?: string;
    architectures?: string[];
  };
  return {
    contentId: await contentId(folder),
    contextLength: max_position_embeddings ?? 2048,
    modelType: model_type ?? 'qwen2',
    architectures: architectures ?? ['Qwen2ForCausalLM'],
  };
}

/** Real weights are too large to be read at every start; their size stands for them. */
const WHOLE_BYTES_MAX = 64 * 2 ** 20;

/** Hidden files are left out: those who stage weights keep their marks in them. */
async function contentId(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder)).toSorted()) {
    const path = join(folder, name);
    if (name.startsWith('.')) continue;
    const at = await stat(path);
    if (!at.isFile()) continue;
    hash.update(`${name}\0${at.size}\0`);
    if (at.size <= WHOLE_BYTES_MAX) hash.update(await readFile(path));
  }
  return hash.digest('hex');
}
