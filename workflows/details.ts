import type { OperationProgress, StepProgress } from './messages.ts';

const MARKS: Record<StepProgress['state'], string> = {
  waiting: '·',
  running: '▶',
  done: '✓',
  failed: '✗',
  cancelled: '✗ cancelled',
  cut: '✂ left to the next',
  undoing: '↶',
  undone: '↶ undone',
  stuck: '✗ stuck',
};

/** Findings shown at most; the rest is counted. */
const FINDINGS_SHOWN = 20;

/** An operation's progress as the Temporal UI shows it: Markdown. */
export function describeProgress(progress: OperationProgress): string {
  return [
    `**${progress.operation} ${progress.cluster}** deployment ${progress.deployment} by ${progress.actor}: **${progress.outcome}**`,
    ['| step | state | parts |', '|---|---|---|', ...progress.steps.map(stepRow)].join('\n'),
    ...(progress.failed
      ? [
          `**${progress.failed.code}** at ${progress.failed.step} ${progress.failed.host}: ${progress.failed.message}\n\nRemedy: ${progress.failed.remedy}`,
        ]
      : []),
    ...(progress.endedBy
      ? [
          `${progress.endedBy.how} by ${progress.endedBy.actor} at ${progress.endedBy.at}${progress.endedBy.reason ? `: ${progress.endedBy.reason}` : ''}`,
        ]
      : []),
    ...(progress.leftBehind.length > 0
      ? [['Left behind:', ...progress.leftBehind.map((left) => `- ${left}`)].join('\n')]
      : []),
    ...(progress.kept.length > 0 ? [['Kept as a cache:', ...progress.kept.map((one) => `- ${one}`)].join('\n')] : []),
    ...progress.warnings.map((warning) => `Warning: ${warning}`),
    ...(progress.findingsInAll > 0
      ? [`${progress.findingsInAll} findings, ${progress.findings.length} not passed.`]
      : []),
    ...progress.findings
      .slice(0, FINDINGS_SHOWN)
      .map(
        ({ check, host, peer, verdict, evidence }) =>
          `- ${verdict} ${check} ${host}${peer ? ` → ${peer}` : ''}: ${evidence}`,
      ),
  ].join('\n\n');
}

const stepRow = ({ name, state, done, of }: StepProgress): string =>
  `| ${name} | ${MARKS[state]} | ${of > 0 ? `${done}/${of}` : ''} |`;
