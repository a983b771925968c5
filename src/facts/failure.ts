import type { ToolOutput } from './fact.ts';

/** Sentences by which tools say why they failed, the most telling first. */
const TELLING = [
  /AMDSMI_STATUS_\w+[^\n]*/,
  /^.*(?:permission denied|not a member of|requires elevation).*$/im,
  /^\w*(?:Error|Exception): .+$/m,
];

/** Why a tool printed nothing of use, in one line: not installed, its own error, or its exit code. */
export function whyNothing(tool: string, { stdout, stderr, exitCode }: ToolOutput): string {
  if (exitCode === 127) return `${tool} is not on the host's PATH`;
  const both = `${stderr}\n${stdout}`;
  for (const pattern of TELLING) {
    const match = pattern.exec(both);
    if (match) return `${tool} failed: ${match[0].trim()}`;
  }
  const first = both.split('\n').find((line) => line.trim() !== '');
  if (exitCode !== 0) return `${tool} ended with exit code ${exitCode}${first ? `: ${first.trim()}` : ''}`;
  return first ? `${tool} printed something else: ${first.trim()}` : `${tool} printed nothing`;
}

/** Throws what `whyNothing` says unless the tool ended well: after a failure half an answer may be missing. */
export function assertEndedWell(tool: string, output: ToolOutput): void {
  if (output.exitCode !== 0) throw new SyntaxError(whyNothing(tool, output));
}
