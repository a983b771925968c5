import type { ToolOutput } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { isCut } from './gpu-record.ts';
import { fieldOf, linesOf } from './lines.ts';
import { type Json, type JsonObject, isObject, jsonIn } from './tool-json.ts';

/**
 * How every `amd-smi` subcommand prints: JSON as a bare list, one object or {"gpu_data": […]}, or indented text with
 * "GPU: 0" above each record. Either way one record per GPU comes out, keys in lower case with underscores.
 */
export interface AmdSmiRecords {
  readonly records: readonly (JsonObject & { readonly gpu: number })[];
  /** False when the text was cut: then the number of GPUs cannot be told from it. */
  readonly complete: boolean;
}

/** amd-smi is often installed without being on PATH; what is on PATH comes first. */
export const amdSmi = (...args: readonly string[]): readonly string[] => rocmTool('amd-smi', ...args);

/** A tool of ROCm, on PATH or in /opt/rocm/bin. The script is a constant, its arguments are passed through. */
export const rocmTool = (...argv: readonly string[]): readonly string[] => [
  'sh',
  '-c',
  'PATH="$PATH:/opt/rocm/bin"; exec "$@"',
  'sh',
  ...argv,
];

/** Reads the records of one amd-smi output. Throws SyntaxError with the tool's own reason when there are none. */
export function amdSmiRecords(output: ToolOutput): AmdSmiRecords {
  assertEndedWell('amd-smi', output);
  const root = jsonIn(output.stdout);
  const listed = root === undefined ? fromText(output.stdout) : fromJson(root);
  const records = listed.flatMap((record) => {
    const gpu = record['gpu'];
    return typeof gpu === 'number' ? [{ ...record, gpu }] : [];
  });
  if (records.length === 0) throw new SyntaxError(noRecords(root, output));
  // A text that ends in the middle of a record was cut, marked or not; a cut JSON document is none.
  const whole = Object.keys(records[0]!).every((key) => Object.hasOwn(records.at(-1)!, key));
  return { records, complete: whole && !isCut(output.stdout) };
}

function noRecords(root: Json | undefined, output: ToolOutput): string {
  return root === undefined ? whyNothing('amd-smi', output) : 'amd-smi listed no GPU';
}

function fromJson(root: Json): readonly JsonObject[] {
  const list = isObject(root) && 'gpu_data' in root ? root['gpu_data'] : root;
  return (Array.isArray(list) ? (list as readonly Json[]) : [list]).filter(isObject);
}

/** Indented "KEY: value" lines; a deeper line belongs to the last shallower one. CPU sections are passed over. */
function fromText(text: string): readonly JsonObject[] {
  const records: Record<string, Json>[] = [];
  let open: { indent: number; fields: Record<string, Json> }[] = [];
  for (const line of linesOf(text)) {
    const head = /^(GPU|CPU):\s*(\d+)\s*$/.exec(line);
    if (head) {
      const fields: Record<string, Json> = head[1] === 'GPU' ? { gpu: Number(head[2]) } : {};
      if (head[1] === 'GPU') records.push(fields);
      open = [{ indent: 0, fields }];
      continue;
    }
    const indent = line.length - line.trimStart().length;
    const [name, value] = fieldOf(line) ?? [];
    if (open.length === 0 || indent === 0 || name === undefined || !/^[A-Z][\w /()-]*$/.test(name)) continue;
    while (open.length > 1 && open.at(-1)!.indent >= indent) open.pop();
    const key = name.toLowerCase().replaceAll(' ', '_');
    if (value !== '') {
      open.at(-1)!.fields[key] = value!;
      continue;
    }
    const fields: Record<string, Json> = {};
    open.at(-1)!.fields[key] = fields;
    open.push({ indent, fields });
  }
  return records;
}
