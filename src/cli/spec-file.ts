import { readFile } from 'node:fs/promises';
import { CHECK_NAMES } from '../checks/index.ts';
import { DeployError } from '../errors.ts';
import { loadSpec, type Diagnostic } from '../spec/diagnostics.ts';
import { specDigest } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { note } from './output.ts';
import { renderDiagnostics } from './views/diagnostics.ts';
import { raw } from '../text/raw.ts';

/** Reads and checks a spec file. Errors: USAGE when it cannot be read. */
export async function diagnose(file: string): Promise<{ spec?: ClusterSpec; diagnostics: readonly Diagnostic[] }> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new DeployError({
      code: 'USAGE',
      message: `${file} cannot be read: ${cause.code ?? cause.message}`,
      remedy: 'Give the path of a cluster spec file; specs/ has examples.',
      retryable: false,
      cause,
    });
  });
  return loadSpec(text, file, { checkNames: CHECK_NAMES });
}

/** A spec that is fit to be sent; warnings are shown. Errors: SPEC_INVALID with all diagnostics as evidence. */
export async function requireSpec(file: string): Promise<{ spec: ClusterSpec; specDigest: string }> {
  const { spec, diagnostics } = await diagnose(file);
  const errors = diagnostics.filter(({ severity }) => severity === 'error');
  if (!spec || errors.length > 0) {
    throw new DeployError({
      code: 'SPEC_INVALID',
      message: `${file} has ${errors.length} error${errors.length === 1 ? '' : 's'}; nothing was contacted`,
      remedy: 'Mend the lines named above.',
      retryable: false,
      evidence: raw(renderDiagnostics(diagnostics)),
    });
  }
  if (diagnostics.length > 0) note(renderDiagnostics(diagnostics));
  return { spec, specDigest: specDigest(spec) };
}
