import type { EndedBy, Failed, Measured } from '../../operations/outcomes.ts';
import { isSameStep, type OperationProgress, type StepName, type StepProgress } from '../../operations/progress.ts';
import type { ClusterRecord, DeploymentRecord } from '../../operations/record.ts';
import { firstOfEach } from './findings.ts';
import { keptRows } from './kept.ts';
import { SHOWN_MAX, type Shown } from './shown.ts';
import { duration, lasting } from './table.ts';

const WORDS: Partial<Record<StepProgress['state'], string>> = {
  done: 'done',
  failed: 'FAILED',
  cancelled: 'cancelled',
  cut: 'left to the next',
  undoing: 'undoing',
  undone: 'undone',
  stuck: 'STUCK',
};

/** Progress as it is shown: a count never goes back, also where a step counts a second time. */
export interface ShownProgress extends OperationProgress {
  /** Of each step: the last count as it was read, and the parts of counts before it. */
  readonly counts: readonly Count[];
}

interface Count extends StepName {
  readonly done: number;
  readonly of: number;
  readonly before: number;
}

/** `now` with counts that go on from those shown `before`: a step that fetches a second image goes on counting. */
export function neverBackwards(before: ShownProgress | undefined, now: OperationProgress): ShownProgress {
  const counts = now.steps.map((step) => ({ ...step, ...countOf(before, step) }));
  const steps = now.steps.map((step, at) => {
    const { done, of, before: earlier } = counts[at]!;
    return { ...step, done: earlier + done, of: earlier + of };
  });
  return { ...now, steps, counts };
}

function countOf(shown: ShownProgress | undefined, step: StepProgress): Omit<Count, keyof StepName> {
  const { state, done, of } = step;
  const isIt = (other: StepName) => isSameStep(other, step);
  const last = shown?.counts.find(isIt);
  const undoes = state === 'undoing' && shown?.steps.find(isIt)?.state !== 'undoing';
  if (!last || undoes) return { done, of, before: 0 };
  const again = done < last.done || of !== last.of; // All parts of the count before are over, else the step had failed.
  return { done, of, before: last.before + (again ? last.of : 0) };
}

/** What is new since `before`, as lines for people. */
export function progressLines(
  before: OperationProgress | undefined,
  now: OperationProgress,
  shown: Shown = {},
): readonly string[] {
  const lines: string[] = [];
  for (const warning of now.warnings.slice(before?.warnings.length ?? 0)) lines.push(`  warning        ${warning}`);
  for (const { rows, of, rest } of firstOfEach(now.findings.slice(before?.findings.length ?? 0), shown)) {
    for (const { check, host, peer, verdict, evidence } of rows)
      lines.push(`  ${verdict.padEnd(14)} ${check} ${host}${peer ? ` → ${peer}` : ''}: ${evidence}`);
    if (rest) lines.push(`  ${of.verdict.padEnd(14)} ${rest}`);
  }
  for (const step of now.steps) {
    const earlier = before?.steps.find((other) => isSameStep(other, step));
    if (step.state !== earlier?.state || (step.state === 'running' && step.done !== earlier.done)) {
      const line = stepLine(step, now);
      if (line) lines.push(line);
    }
  }
  return lines;
}

/** What is said when nothing new was for long: where the operation is, and how long it has been followed. */
export function stillLines({ steps, stage }: OperationProgress, followedMs: number): readonly string[] {
  const step = steps.find(({ state }) => state === 'running' || state === 'undoing');
  const name = step?.name ?? stage;
  const parts = step && step.of > 1 && step.state === 'running' ? `${step.done}/${step.of}, ` : '';
  const undoing = step?.state === 'undoing' ? 'undoing, ' : '';
  return name ? [`  ${name.padEnd(14)} ${undoing}${parts}goes on after ${lasting(followedMs)}`] : [];
}

function stepLine(step: StepProgress, { failed }: OperationProgress): string | undefined {
  const { name, state, done, of, startedAt, finishedAt } = step;
  // The workflow's clock stands still while nobody is asked anything: there was nothing to do.
  if (state === 'done' && startedAt === finishedAt) return undefined;
  // A step that a cancellation cut has failed without a reason of its own.
  const word = state === 'failed' && failed?.step !== name ? 'cancelled' : WORDS[state];
  if (word) {
    const took = state === 'done' && startedAt && finishedAt ? duration(startedAt, finishedAt) : '';
    const parts = of > 0 && state !== 'undoing' && state !== 'undone' ? ` (${done}/${of})` : '';
    return `  ${name.padEnd(14)} ${word}${parts}${took ? `  ${took}` : ''}`;
  }
  return state === 'running' && of > 1 && done < of ? `  ${name.padEnd(14)} ${done}/${of}` : undefined;
}

/** How a deployment ended, and what can be done next. */
export function renderConclusion(
  entry: DeploymentRecord,
  { cluster, serving }: ClusterRecord,
  progress: OperationProgress | undefined,
  shown: Shown = {},
): string {
  const took = entry.finishedAt ? ` in ${duration(entry.startedAt, entry.finishedAt)}` : '';
  const lines = [
    `${entry.operation} ${cluster} deployment ${entry.deployment}: ${verdictOf(entry)}${took}${byWhom(entry.endedBy)}`,
  ];
  if (entry.failed) lines.push(...failedLines(entry.failed));
  if (entry.failed?.logs)
    lines.push(`  logs     \`tandem logs ${cluster} --deployment ${entry.deployment}\` shows them`);
  const undone = progress?.steps.filter(({ state }) => state === 'undone').map(({ name }) => name) ?? [];
  if (undone.length > 0) lines.push(`  unwound  ${undone.join(', ')}`);
  if (entry.outcome === 'rolled-back' || entry.outcome === 'cancelled') lines.push('  nothing left behind');
  lines.push(...remainsLines(entry, shown));
  if (entry.leftBehind.length > 0)
    lines.push(`  remedy   mend the cause, then \`tandem destroy ${cluster}\` or deploy again`);
  if (entry.measured) lines.push(measuredLine(entry.measured));
  if (serving && (entry.outcome === 'succeeded' || entry.outcome === 'unchanged'))
    lines.push(`  serving  ${serving.model} at ${serving.router.url}`);
  return lines.join('\n');
}

/** How it ended, so that a failure is seen as one. */
const verdictOf = ({ outcome, failed }: DeploymentRecord): string => {
  if (outcome === 'refused') return 'REFUSED, nothing was touched';
  return failed && outcome !== 'cancelled' ? `FAILED, ${outcome}` : outcome;
};

/** Who ended an operation before its own end, and how; empty where nobody did. */
export const byWhom = (by: EndedBy | undefined): string =>
  by ? ` (${by.how} by ${by.actor || 'somebody in Temporal'} at ${by.at}${by.reason ? `: ${by.reason}` : ''})` : '';

export function failedLines({ step, host, code, message, evidence, remedy, logs = [] }: Failed): readonly string[] {
  return [
    `  ${code} at ${step}${host ? ` on ${host}` : ''}: ${message}`,
    ...(evidence
      ? evidence
          .trimEnd()
          .split('\n')
          .map((line) => `    ${line}`)
      : []),
    ...logs.map((log) => `  log      ${log}`),
    ...(remedy ? [`  remedy   ${remedy}`] : []),
  ];
}

/** What a deployment left on the hosts: against its will, differing from before, given up with a host, and kept as a cache. */
export function remainsLines(
  {
    leftBehind,
    difference = [],
    abandoned = [],
    kept = [],
  }: Pick<DeploymentRecord, 'leftBehind' | 'difference' | 'abandoned' | 'kept'>,
  shown: Shown,
): readonly string[] {
  // What is named as left behind is not said twice.
  const others = difference.filter(
    ({ host, what }) => !leftBehind.some((left) => left.includes(host) && left.includes(what)),
  );
  return [
    ...rows('left behind', leftBehind, shown),
    ...rows(
      'differs',
      others.map(({ host, kind, what, change }) => `${host}: ${kind} ${what} is ${change === 'left' ? 'new' : 'gone'}`),
      shown,
    ),
    ...rows('abandoned', abandoned, shown),
    ...keptRows(kept, shown).map((text) => row('kept', text)),
  ];
}

const row = (word: string, text: string): string => `  ${word.padEnd(11)}  ${text}`;

function rows(word: string, texts: readonly string[], { verbose }: Shown): readonly string[] {
  const first = verbose ? texts : texts.slice(0, SHOWN_MAX);
  const more = texts.length - first.length;
  return [...first, ...(more > 0 ? [`${texts.length} in all, ${more} not shown (--verbose shows them)`] : [])].map(
    (text) => row(word, text),
  );
}

export const measuredLine = ({ requests, ttftMs, itlMs, tokensPerSecond }: Measured): string =>
  `  measured ${requests} requests: TTFT p50 ${round(ttftMs.p50)} ms, p99 ${round(ttftMs.p99)} ms; ITL p50 ${round(itlMs.p50)} ms; ${round(tokensPerSecond)} tokens/s`;

const round = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
