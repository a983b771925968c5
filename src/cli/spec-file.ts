import { readFile } from 'node:fs/promises';
import { buffer as wholeBytes } from 'node:stream/consumers';
import { CHECK_NAMES } from '../checks/index.ts';
import { DeployError } from '../errors.ts';
import { loadSpec, type Diagnostic } from '../spec/diagnostics.ts';
import { specDigest } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { note } from './output.ts';
import { renderDiagnostics } from './views/diagnostics.ts';
import { raw } from '../text/raw.ts';
import { firstOddByte } from '../text/bytes.ts';

/** What stands for standard input where a file is asked for. */
const STDIN = '-';

/** Reads and checks a spec file, or standard input for `-`. Errors: USAGE when it cannot be read. */
export async function diagnose(file: string): Promise<{ spec?: ClusterSpec; diagnostics: readonly Diagnostic[] }> {
  const read = file === STDIN ? wholeBytes(process.stdin) : readFile(file);
  const bytes = await read.catch((cause: NodeJS.ErrnoException) => {
    throw new DeployError({
      code: 'USAGE',
      message: `${file} cannot be read: ${cause.code ?? cause.message}`,
      remedy: 'Give the path of a cluster spec file, or - for standard input; specs/ has examples.',
      retryable: false,
      cause,
    });
  });
  const odd = firstOddByte(bytes);
  if (odd !== undefined) return { diagnostics: [notText(shownName(file), bytes, odd)] };
  return loadSpec(bytes.toString('utf8'), shownName(file), { checkNames: CHECK_NAMES });
}

/** No byte of such a file is shown, and nothing of it is parsed. */
function notText(file: string, bytes: Uint8Array, offset: number): Diagnostic {
  const before = Buffer.from(bytes.subarray(0, offset)).toString('utf8').split('\n');
  const byte = `0x${bytes[offset]!.toString(16).padStart(2, '0')}`;
  return {
    file,
    line: before.length,
    column: before.at(-1)!.length + 1,
    path: '',
    severity: 'error',
    message: `is not text: the first odd byte, ${byte}, is at offset ${offset} of ${bytes.length}`,
    remedy: 'Give a cluster spec, which is YAML in UTF-8; specs/ has examples.',
  };
}

const shownName = (file: string): string => (file === STDIN ? 'stdin' : file);

/** A spec that is fit to be sent; warnings are shown. Errors: SPEC_INVALID with all diagnostics as evidence. */
export async function requireSpec(file: string): Promise<{ spec: ClusterSpec; specDigest: string }> {
  const { spec, diagnostics } = await diagnose(file);
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  if (!spec || errors.length > 0) {
    throw new DeployError({
      code: 'SPEC_INVALID',
      message: `${shownName(file)} has ${errors.length} error${errors.length === 1 ? '' : 's'}; nothing was contacted`,
      remedy: 'Mend the lines named above.',
      retryable: false,
      evidence: raw(renderDiagnostics(diagnostics)),
    });
  }
  if (diagnostics.length > 0) note(renderDiagnostics(diagnostics));
  return { spec, specDigest: specDigest(spec) };
}
