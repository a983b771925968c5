import type {
  ClusterRecord,
  DeploymentRecord,
  Failed,
  Measured,
  OperationProgress,
  StepProgress,
} from '../../../workflows/messages.ts';
import { duration } from './table.ts';

const WORDS: Partial<Record<StepProgress['state'], string>> = {
  done: 'done',
  failed: 'FAILED',
  cancelled: 'cancelled',
  cut: 'left to the next',
  undoing: 'undoing',
  undone: 'undone',
  stuck: 'STUCK',
};

/** What is new since `before`, as lines for people. */
export function progressLines(before: OperationProgress | undefined, now: OperationProgress): readonly string[] {
  const lines: string[] = [];
  for (const warning of now.warnings.slice(before?.warnings.length ?? 0)) lines.push(`  warning        ${warning}`);
  for (const finding of now.findings.slice(before?.findings.length ?? 0)) {
    if (finding.verdict !== 'pass')
      lines.push(
        `  ${finding.verdict.padEnd(14)} ${finding.check} ${finding.host}${finding.peer ? ` → ${finding.peer}` : ''}: ${finding.evidence}`,
      );
  }
  for (const step of now.steps) {
    const earlier = before?.steps.find(({ name }) => name === step.name);
    if (step.state !== earlier?.state || (step.state === 'running' && step.done !== earlier.done)) {
      const line = stepLine(step);
      if (line) lines.push(line);
    }
  }
  return lines;
}

function stepLine({ name, state, done, of, startedAt, finishedAt }: StepProgress): string | undefined {
  const word = WORDS[state];
  if (word) {
    const took = state === 'done' && startedAt && finishedAt ? duration(startedAt, finishedAt) : '';
    return `  ${name.padEnd(14)} ${word}${of > 0 ? ` (${done}/${of})` : ''}${took ? `  ${took}` : ''}`;
  }
  return state === 'running' && of > 1 && done < of ? `  ${name.padEnd(14)} ${done}/${of}` : undefined;
}

/** How a deployment ended, and what can be done next. */
export function renderConclusion(
  entry: DeploymentRecord,
  { cluster, serving }: ClusterRecord,
  progress: OperationProgress | undefined,
): string {
  const took = entry.finishedAt ? ` in ${duration(entry.startedAt, entry.finishedAt)}` : '';
  const lines = [`${entry.operation} ${cluster} deployment ${entry.deployment}: ${entry.outcome}${took}`];
  if (entry.failed) lines.push(...failedLines(entry.failed));
  const undone = progress?.steps.filter(({ state }) => state === 'undone').map(({ name }) => name) ?? [];
  if (undone.length > 0) lines.push(`  unwound  ${undone.join(', ')}`);
  if (entry.outcome === 'rolled-back' || entry.outcome === 'cancelled') lines.push('  nothing left behind');
  lines.push(...remainsLines(entry));
  if (entry.leftBehind.length > 0)
    lines.push(`  remedy   mend the cause, then \`tandem destroy ${cluster}\` or deploy again`);
  if (entry.measured) lines.push(measuredLine(entry.measured));
  if (serving && (entry.outcome === 'succeeded' || entry.outcome === 'unchanged'))
    lines.push(`  serving  ${serving.model} at ${serving.router.url}`);
  return lines.join('\n');
}

export function failedLines({ step, host, code, message, evidence, remedy }: Failed): readonly string[] {
  return [
    `  ${code} at ${step}${host ? ` on ${host}` : ''}: ${message}`,
    ...(evidence
      ? evidence
          .trimEnd()
          .split('\n')
          .map((line) => `    ${line}`)
      : []),
    ...(remedy ? [`  remedy   ${remedy}`] : []),
  ];
}

/** Rows of one kind that text shows; `--json` has all. */
const ROWS_SHOWN = 12;

/** What a deployment left on the hosts: against its will, differing from before, given up with a host, and kept as a cache. */
export function remainsLines({
  leftBehind,
  difference = [],
  abandoned = [],
  kept = [],
}: Pick<DeploymentRecord, 'leftBehind' | 'difference' | 'abandoned' | 'kept'>): readonly string[] {
  // What is named as left behind is not said twice.
  const others = difference.filter(
    ({ host, what }) => !leftBehind.some((left) => left.includes(host) && left.includes(what)),
  );
  return [
    ...rows('left behind', leftBehind),
    ...rows(
      'differs',
      others.map(({ host, kind, what, change }) => `${host}: ${kind} ${what} is ${change === 'left' ? 'new' : 'gone'}`),
    ),
    ...rows('abandoned', abandoned),
    ...rows('kept', kept),
  ];
}

const rows = (word: string, texts: readonly string[]): readonly string[] => [
  ...texts.slice(0, ROWS_SHOWN).map((text) => `  ${word.padEnd(11)}  ${text}`),
  ...(texts.length > ROWS_SHOWN
    ? [`  ${word.padEnd(11)}  and ${texts.length - ROWS_SHOWN} more (--json has all)`]
    : []),
];

export const measuredLine = ({ requests, ttftMs, itlMs, tokensPerSecond }: Measured): string =>
  `  measured ${requests} requests: TTFT p50 ${round(ttftMs.p50)} ms, p99 ${round(ttftMs.p99)} ms; ITL p50 ${round(itlMs.p50)} ms; ${round(tokensPerSecond)} tokens/s`;

const round = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
