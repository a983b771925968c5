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
  const lines = [...endsOf(stderr), ...endsOf(stdout)];
  for (const telling of TELLING) {
    const told = lines.map(telling).find((line) => line !== undefined);
    if (told !== undefined) return `${tool} failed: ${told.trim()}`;
  }
  const first = lines.find((line) => line.trim() !== '');
  if (exitCode !== 0) return `${tool} ended with exit code ${exitCode}${first ? `: ${first.trim()}` : ''}`;
  return first ? `${tool} printed something else: ${first.trim()}` : `${tool} printed nothing`;
}

/** Most of either end that is searched for the reason, in characters. */
const END_LIMIT = 8_192;

/** The first and the last lines of a text, which is where tools say why they failed. */
function endsOf(text: string): readonly string[] {
  const said = text.trim();
  return said.length <= 2 * END_LIMIT
    ? linesOf(said)
    : [...linesOf(said.slice(0, END_LIMIT)), ...linesOf(said.slice(-END_LIMIT))];
}

/** Throws what `whyNothing` says unless the tool ended well: after a failure half an answer may be missing. */
export function assertEndedWell(tool: string, output: ToolOutput): void {
  if (output.exitCode !== 0) throw new SyntaxError(whyNothing(tool, output));
}
