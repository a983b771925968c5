import type { Diagnostic } from '../../spec/diagnostics.ts';

/** file:line:col key: message, with the remedy below. */
export const renderDiagnostics = (diagnostics: readonly Diagnostic[]): string =>
  diagnostics
    .map(({ file, line, column, path, severity, message, remedy }) =>
      [
        `${file}:${line}:${column} ${severity === 'warning' ? 'warning: ' : ''}${path ? `${path}: ` : ''}${message}`,
        ...(remedy ? [`    remedy: ${remedy}`] : []),
      ].join('\n'),
    )
    .join('\n');
