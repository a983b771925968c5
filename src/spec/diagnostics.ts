import { readDocument } from './document.ts';
import type { Located } from './document.ts';
import { judge, readSpec } from './repair.ts';
import { RULES } from './rules.ts';
import type { RuleContext } from './rules/rule.ts';
import type { ClusterSpec } from './schema.ts';
import { showPath } from './violation.ts';
import type { Path, Severity } from './violation.ts';

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

/** Most diagnostics that are shown; whoever has mended these sees the next. */
const MAX_SHOWN = 100;

/** Reads a spec's text; `file` is only a name to show. With `checkNames`, waivers of checks that do not exist are errors. */
export function loadSpec(text: string, file: string, options: Pick<RuleContext, 'checkNames'> = {}): LoadedSpec {
  const { document, problems, untold: unread = 0 } = readDocument(text);
  if (!document) return { diagnostics: shown(present(problems, file), unread) };
  const { spec, holes, violations, untold } = readSpec(document);
  const context = { written: document.written, ...options };
  const found = [
    ...violations,
    // A rule judges nothing that the schema or YAML already refused.
    ...(spec
      ? judge(
          RULES.map((rule) => (seen) => rule(seen, context)),
          { spec, holes },
        )
      : []),
  ];
  const misread = new Set(problems.flatMap(({ path }) => (path.length > 0 ? [JSON.stringify(path)] : [])));
  const isMisread = (path: Path) =>
    misread.size > 0 && path.some((_, index) => misread.has(JSON.stringify(path.slice(0, index + 1))));
  const located = found
    .filter(({ path }) => !isMisread(path))
    .map((violation) => ({ ...violation, ...document.locate(violation) }));
  const all = present([...problems, ...located], file);
  const diagnostics = shown(all, untold);
  if (!spec || all.some(({ severity }) => severity === 'error')) return { diagnostics };
  return { spec, diagnostics };
}

/** The first of them, errors before warnings where both cannot be shown, and how many more there are. */
function shown(all: readonly Diagnostic[], untold: number): readonly Diagnostic[] {
  const more = all.length + untold - MAX_SHOWN;
  if (more <= 0) return all;
  const first = all.toSorted((a, b) => Number(a.severity === 'warning') - Number(b.severity === 'warning'));
  const kept = new Set(first.slice(0, MAX_SHOWN));
  const { file, line, column } = (first[MAX_SHOWN] ?? first.at(-1))!;
  const message = `there are ${more} more diagnostics, which are not shown`;
  return [
    ...all.filter((diagnostic) => kept.has(diagnostic)),
    { file, line, column, path: '', severity: 'error', message, remedy: 'Mend the first ones, and validate again.' },
  ];
}

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
