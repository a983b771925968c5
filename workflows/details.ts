import type { OperationProgress, StepProgress } from '../src/operations/progress.ts';
import { code, codeCell } from '../src/text/markdown.ts';

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

/** An operation's progress as the Temporal UI shows it: Markdown, in which what hosts, files and people wrote is code. */
export function describeProgress(progress: OperationProgress): string {
  return [
    `**${progress.operation}** ${code(progress.cluster)} deployment ${progress.deployment} by ${code(progress.actor)}: **${progress.outcome}**`,
    ['| step | state | parts |', '|---|---|---|', ...progress.steps.map(stepRow)].join('\n'),
    ...(progress.failed
      ? [
          `${code(progress.failed.code)} at ${code(progress.failed.step)} ${code(progress.failed.host)}: ${code(progress.failed.message)}\n\nRemedy: ${code(progress.failed.remedy)}`,
        ]
      : []),
    ...(progress.endedBy
      ? [
          `${progress.endedBy.how} by ${code(progress.endedBy.actor)} at ${progress.endedBy.at} ${code(progress.endedBy.reason)}`,
        ]
      : []),
    ...(progress.leftBehind.length > 0
      ? [['Left behind:', ...progress.leftBehind.map((left) => `- ${code(left)}`)].join('\n')]
      : []),
    ...(progress.kept.length > 0 ? [['Kept:', ...progress.kept.map((one) => `- ${code(one)}`)].join('\n')] : []),
    ...(progress.logs.length > 0
      ? [
          [
            `Logs of what was removed (tandem logs ${code(progress.cluster)} --deployment ${progress.deployment}):`,
            ...progress.logs.map(({ host, path }) => `- ${code(`${host}: ${path}`)}`),
          ].join('\n'),
        ]
      : []),
    ...progress.warnings.map((warning) => `Warning: ${code(warning)}`),
    ...(progress.findingsInAll > 0
      ? [`${progress.findingsInAll} findings, ${progress.findings.length} not passed.`]
      : []),
    ...progress.findings
      .slice(0, FINDINGS_SHOWN)
      .map(
        ({ check, host, peer, verdict, evidence }) =>
          `- ${verdict} ${code(check)} ${code(host)}${peer ? ` → ${code(peer)}` : ''}: ${code(evidence)}`,
      ),
  ].join('\n\n');
}

const stepRow = ({ name, state, done, of }: StepProgress): string =>
  `| ${codeCell(name)} | ${MARKS[state]} | ${of > 0 ? `${done}/${of}` : ''} |`;
