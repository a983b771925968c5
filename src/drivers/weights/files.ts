import type { FileHash, WeightFile } from './types.ts';

/** Rules over listings of weights. Pure; every function here throws `SyntaxError` saying what is wrong. */

/** A model of more files than this is a mistake in the source. */
const FILES_LIMIT = 20_000;

/**
 * Refuses a listing that could write outside its folder or that the copy cannot carry: absolute paths, "..", names of
 * the copy's own, control characters, quotes and backslashes (they end up in JSON and in tab-separated rows).
 */
export function assertSafe(files: readonly Pick<WeightFile, 'path'>[]): void {
  if (files.length > FILES_LIMIT)
    throw new SyntaxError(`${files.length} files are listed, at most ${FILES_LIMIT} are taken`);
  const seen = new Set<string>();
  for (const { path } of files) {
    const why = unsafe(path) ?? (seen.has(path) ? 'is listed twice' : undefined);
    if (why) throw new SyntaxError(`the listed path ${JSON.stringify(path)} ${why}`);
    seen.add(path);
  }
}

function unsafe(path: string): string | undefined {
  const parts = path.split('/');
  if (path.startsWith('/')) return 'is absolute';
  if (parts.includes('..') || parts.includes('.') || parts.includes('')) return 'has an empty, "." or ".." part';
  if (parts.some((part) => part.endsWith(PART_SUFFIX) || part === MARK)) return 'is a name that Tandem uses itself';
  // oxlint-disable-next-line no-control-regex -- Control characters are what is looked for.
  if (/[\u0000-\u001f\u007f"\\]/.test(path)) return 'has a control character, a quote or a backslash';
  return path.length > 1024 ? 'is longer than 1024 characters' : undefined;
}

/** Ending of a file that is not complete yet. */
export const PART_SUFFIX = '.tandem-part';
/** The file that says that a folder of weights is complete and verified. */
export const MARK = '.tandem-complete.json';

/** What is wanting for a model that SGLang can load: undefined when nothing is. `index` is the safetensors index, if any. */
export function wanting(files: readonly WeightFile[], index: string | undefined): string | undefined {
  const sizes = new Map(files.map(({ path, size }) => [path, size]));
  const empty = files.find(({ path, size }) => size === 0 && isWeights(path));
  if (!sizes.has('config.json') || sizes.get('config.json') === 0) return 'config.json is missing or empty';
  if (empty) return `${empty.path} is empty`;
  if (!files.some(({ path }) => isWeights(path)))
    return 'no file of weights (*.safetensors, *.bin, *.pt, *.gguf) is there';
  return index === undefined ? undefined : wantingShards(sizes, index);
}

/** Of the safetensors index: the name it has in every model. */
export const INDEX = 'model.safetensors.index.json';

function wantingShards(sizes: ReadonlyMap<string, number | undefined>, index: string): string | undefined {
  const { shards, totalBytes } = parseIndex(index);
  const missing = shards.filter((shard) => !sizes.has(shard));
  if (missing.length > 0)
    return `${missing.length} of ${shards.length} shards of ${INDEX} are missing: ${missing.slice(0, 3).join(', ')}`;
  const known = shards.map((shard) => sizes.get(shard));
  const sum = known.reduce<number>((total, size) => total + (size ?? 0), 0);
  // A shard is its tensors and a header, so the files are never smaller than the tensors together.
  if (totalBytes !== undefined && !known.includes(undefined) && sum < totalBytes)
    return `the shards are ${sum} bytes, ${INDEX} says ${totalBytes}: a shard is cut short`;
  return undefined;
}

function parseIndex(text: string): { shards: readonly string[]; totalBytes: number | undefined } {
  const { weight_map: map, metadata } = record(parseJson(INDEX, text)) ?? {};
  const shards = record(map);
  if (!shards) throw new SyntaxError(`${INDEX} has no weight_map`);
  const total = record(metadata)?.['total_size'];
  return {
    shards: [...new Set(Object.values(shards).map(String))].sort(),
    totalBytes: typeof total === 'number' ? total : undefined,
  };
}

const isWeights = (path: string) => /\.(?:safetensors|bin|pt|pth|gguf)$/.test(path);

/** Rows of `sha256sum`: 64 hex digits, a blank, a blank or an asterisk, the path. */
export function parseSums(text: string): WeightFile[] {
  const rows = text.split(/\r?\n/).filter((line) => line.trim() !== '' && !line.startsWith('#'));
  if (rows.length === 0) throw new SyntaxError('SHA256SUMS has no rows');
  return rows.map((line) => {
    const row = /^(?<value>[0-9a-fA-F]{64}) [ *](?:\.\/)?(?<path>.+)$/.exec(line)?.groups;
    if (!row) throw new SyntaxError(`SHA256SUMS has a row that is no "<sha256>  <path>": ${line}`);
    return { path: row['path']!, hash: sha256(row['value']!) };
  });
}

/**
 * `manifest.json`, and the completion mark, which has the same shape and more:
 * { files: [{ path, size, sha256 }] }; the mark may have "git-sha1" instead of sha256.
 */
export function parseManifest(name: string, text: string): WeightFile[] {
  const files = record(parseJson(name, text))?.['files'];
  if (!Array.isArray(files) || files.length === 0) throw new SyntaxError(`${name} has no list "files"`);
  return files.map((entry: unknown, index) => {
    const { path, size, sha256: sum, 'git-sha1': blob } = record(entry) ?? {};
    const hash = typeof sum === 'string' ? sha256(sum) : typeof blob === 'string' ? gitSha1(blob) : undefined;
    if (typeof path !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || !hash)
      throw new SyntaxError(`${name}: files[${index}] wants a path, a size in bytes and a sha256`);
    return { path, size, hash };
  });
}

/** The hash as it is compared, lower case. */
export const sha256 = (value: string): FileHash => hashOf('sha256', 64, value);
/** The id of a git blob. */
export const gitSha1 = (value: string): FileHash => hashOf('git-sha1', 40, value);

function hashOf(algorithm: FileHash['algorithm'], digits: number, value: string): FileHash {
  if (value.length !== digits || !/^[0-9a-fA-F]+$/.test(value))
    throw new SyntaxError(`${JSON.stringify(value)} is no ${algorithm} of ${digits} hex digits`);
  return { algorithm, value: value.toLowerCase() };
}

/** Sum of the sizes that are known, in bytes. */
export const bytesOf = (files: readonly WeightFile[]): number => files.reduce((sum, { size }) => sum + (size ?? 0), 0);

function parseJson(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`${name} is no JSON: ${text.split('\n')[0]}`, { cause: error });
  }
}

const record = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
