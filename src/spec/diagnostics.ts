import { readDocument } from './document.ts';
import type { Located } from './document.ts';
import { judge, readSpec } from './repair.ts';
import { RULES } from './rules.ts';
import type { RuleContext } from './rules/rule.ts';
import type { ClusterSpec } from './schema.ts';
import { showPath } from './violation.ts';
import type { Severity } from './violation.ts';

/** One thing that is wrong in a spec file, at the place where it is mended. */
export interface Diagnostic {
  readonly file: string;
  /** Line and column count from 1. */
  readonly line: number;
  readonly column: number;
  /** "hosts.list[2].address"; empty for the file as a whole. */
  readonly path: string;
  readonly severity: Severity;
  readonly message: string;
  readonly remedy: string;
}

export interface LoadedSpec {
  /** The spec with every default filled in; only when there is no error. */
  readonly spec?: ClusterSpec;
  /** All errors and warnings at once, in the order of the file. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Reads a spec's text; `file` is only a name to show. With `checkNames`, waivers of checks that do not exist are errors. */
export function loadSpec(text: string, file: string, options: Pick<RuleContext, 'checkNames'> = {}): LoadedSpec {
  const { document, problems } = readDocument(text);
  if (!document) return { diagnostics: present(problems, file) };
  const { spec, holes, violations } = readSpec(document);
  const context = { written: document.written, ...options };
  const found = [
    ...violations,
    // A rule judges nothing that the schema or YAML already refused.
    ...(spec ? RULES.flatMap((rule) => judge((seen) => rule(seen, context), { spec, holes })) : []),
  ];
  const misread = problems.map(({ path }) => showPath(path));
  const located = found
    .filter(({ path }) => !misread.some((bad) => bad !== '' && isWithin(showPath(path), bad)))
    .map((violation) => ({ ...violation, ...document.locate(violation) }));
  const diagnostics = present([...problems, ...located], file);
  if (!spec || diagnostics.some(({ severity }) => severity === 'error')) return { diagnostics };
  return { spec, diagnostics };
}

const isWithin = (path: string, outer: string) =>
  path === outer || path.startsWith(`${outer}.`) || path.startsWith(`${outer}[`);

function present(located: readonly Located[], file: string): Diagnostic[] {
  const diagnostics = located.map(({ line, column, path, severity, message, remedy }) => ({
    file,
    line,
    column,
    path: showPath(path),
    severity,
    message,
    remedy,
  }));
  // Both roles may say the same of one line of engine.args.
  const distinct = new Map(diagnostics.map((diagnostic) => [JSON.stringify(diagnostic), diagnostic]));
  return [...distinct.values()].toSorted((a, b) => a.line - b.line || a.column - b.column);
}
