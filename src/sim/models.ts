import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes of one weight file of the fake model. */
const SHARD_BYTES = 262_144;
const SHARDS = 2;

/** Writes a small fake model: config, tokenizer, two weight files, SHA256SUMS. The same name gives the same bytes. */
export async function writeModel(folder: string, name: string): Promise<void> {
  if (existsSync(folder)) return;
  const files = modelFiles(name);
  const sums = files
    .map(([file, content]) => `${createHash('sha256').update(content).digest('hex')}  ${file}\n`)
    .join('');
  const aside = `${folder}.new`;
  await rm(aside, { recursive: true, force: true });
  await mkdir(aside, { recursive: true });
  for (const [file, content] of files) await writeFile(join(aside, file), content);
  await writeFile(join(aside, 'SHA256SUMS'), sums);
  await rename(aside, folder);
}

function modelFiles(name: string): [file: string, content: string | Buffer][] {
  const shards = Array.from({ length: SHARDS }, (_, index) => shardName(index));
  const tensors = shards.map((file, index): [string, string] => [`model.layers.${index}.mlp.weight`, file]);
  return [
    [
      'config.json',
      json({
        architectures: ['Qwen2ForCausalLM'],
        model_type: 'qwen2',
        hidden_size: 64,
        num_hidden_layers: SHARDS,
        max_position_embeddings: 32_768,
        torch_dtype: 'bfloat16',
        vocab_size: 151_936,
        _name: name,
      }),
    ],
    ['tokenizer.json', json({ version: '1.0', model: { type: 'BPE', vocab: {}, merges: [] } })],
    ['tokenizer_config.json', json({ tokenizer_class: 'Qwen2Tokenizer', model_max_length: 32_768 })],
    [
      'model.safetensors.index.json',
      json({ metadata: { total_size: SHARDS * SHARD_BYTES }, weight_map: Object.fromEntries(tensors) }),
    ],
    ...shards.map((file, index): [string, Buffer] => [file, shard(tensors[index]![0], `${name} ${index}`)]),
  ];
}

const shardName = (index: number) =>
  `model-${String(index + 1).padStart(5, '0')}-of-${String(SHARDS).padStart(5, '0')}.safetensors`;
const json = (value: object) => `${JSON.stringify(value, null, 2)}\n`;

/** A well-formed safetensors file with one tensor: length of the header, header, bytes. */
function shard(tensor: string, seed: string): Buffer {
  const header = Buffer.from(
    JSON.stringify({ [tensor]: { dtype: 'U8', shape: [SHARD_BYTES], data_offsets: [0, SHARD_BYTES] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const block = createHash('sha512').update(seed).digest();
  return Buffer.concat([length, header, Buffer.alloc(SHARD_BYTES, block)]);
}
