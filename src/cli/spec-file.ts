import { readFile } from 'node:fs/promises';
import { text as wholeText } from 'node:stream/consumers';
import { CHECK_NAMES } from '../checks/index.ts';
import { DeployError } from '../errors.ts';
import { loadSpec, type Diagnostic } from '../spec/diagnostics.ts';
import { specDigest } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { note } from './output.ts';
import { renderDiagnostics } from './views/diagnostics.ts';

/** What stands for standard input where a file is asked for. */
const STDIN = '-';

/** Reads and checks a spec file, or standard input for `-`. Errors: USAGE when it cannot be read. */
export async function diagnose(file: string): Promise<{ spec?: ClusterSpec; diagnostics: readonly Diagnostic[] }> {
  const read = file === STDIN ? wholeText(process.stdin) : readFile(file, 'utf8');
  const text = await read.catch((cause: NodeJS.ErrnoException) => {
    throw new DeployError({
      code: 'USAGE',
      message: `${file} cannot be read: ${cause.code ?? cause.message}`,
      remedy: 'Give the path of a cluster spec file, or - for standard input; specs/ has examples.',
      retryable: false,
      cause,
    });
  });
  return loadSpec(text, shownName(file), { checkNames: CHECK_NAMES });
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
      evidence: renderDiagnostics(diagnostics),
    });
  }
  if (diagnostics.length > 0) note(renderDiagnostics(diagnostics));
  return { spec, specDigest: specDigest(spec) };
}
