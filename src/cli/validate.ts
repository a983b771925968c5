import type { Command } from 'commander';
import { EXIT, jsonOption, print, reporting } from './output.ts';
import { diagnose } from './spec-file.ts';
import { renderDiagnostics } from './views/diagnostics.ts';

export function addValidate(program: Command): void {
  jsonOption(
    program
      .command('validate <file...>')
      .description('Show the errors of spec files, each at its line; no server is needed.'),
  ).action((files: readonly string[], { json }: { json?: boolean }) =>
    reporting(json, async () => {
      const diagnostics = (await Promise.all(files.map(diagnose))).flatMap((result) => result.diagnostics);
      const errors = diagnostics.filter(({ severity }) => severity === 'error').length;
      print(
        diagnostics,
        () =>
          [
            renderDiagnostics(diagnostics),
            errors === 0 ? `${files.join(', ')}: valid` : `${errors} error${errors === 1 ? '' : 's'}`,
          ]
            .filter(Boolean)
            .join('\n'),
        json,
      );
      if (errors > 0) process.exitCode = EXIT.usage;
    }),
  );
}
