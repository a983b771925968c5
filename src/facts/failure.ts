import type { ToolOutput } from './fact.ts';
import { linesOf } from './lines.ts';

/** How lines begin, or what they hold, by which tools say why they failed; the most telling first. */
const TELLING: readonly ((line: string) => string | undefined)[] = [
  (line) => /AMDSMI_STATUS_\w.*/.exec(line)?.[0],
  (line) => (/permission denied|not a member of|requires elevation/i.test(line) ? line : undefined),
  (line) => (/^\w*(?:Error|Exception): ./.test(line) ? line : undefined),
];

/** Why a tool printed nothing of use, in one line: not installed, its own error, or its exit code. */
export function whyNothing(tool: string, { stdout, stderr, exitCode }: ToolOutput): string {
  if (exitCode === 127) return `${tool} is not on the host's PATH`;
  const lines = [...linesOf(stderr), ...linesOf(stdout)];
  for (const telling of TELLING) {
    const told = lines.map(telling).find((line) => line !== undefined);
    if (told !== undefined) return `${tool} failed: ${told.trim()}`;
  }
  const first = lines.find((line) => line.trim() !== '');
  if (exitCode !== 0) return `${tool} ended with exit code ${exitCode}${first ? `: ${first.trim()}` : ''}`;
  return first ? `${tool} printed something else: ${first.trim()}` : `${tool} printed nothing`;
}

/** Throws what `whyNothing` says unless the tool ended well: after a failure half an answer may be missing. */
export function assertEndedWell(tool: string, output: ToolOutput): void {
  if (output.exitCode !== 0) throw new SyntaxError(whyNothing(tool, output));
}
