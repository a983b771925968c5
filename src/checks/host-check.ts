import { someText } from '../text/some.ts';
import type { HostFacts } from '../facts/host-facts.ts';
import type { Judgement } from './check.ts';
import type { HostDemand } from './demand.ts';

/** One rule over the facts of a host. */
export interface HostCheck {
  readonly name: string;
  /** Undefined when the rule does not concern this host. */
  readonly judge: (facts: HostFacts, demand: HostDemand) => Judgement | undefined;
}

export const pass = (evidence: string): Judgement => ({ verdict: 'pass', evidence });

export const fail = (evidence: string, remedy: string): Judgement => ({ verdict: 'fail', evidence, remedy });

export const warn = (evidence: string, remedy: string): Judgement => ({ verdict: 'warn', evidence, remedy });

/** A fact that could not be read proves nothing, so the check fails and says why; an advisory check warns. */
export const cannotTell = (
  { what, why, wanted, remedy }: { what: string; why: string; wanted: string; remedy: string },
  verdict: 'fail' | 'warn' = 'fail',
): Judgement => ({ verdict, evidence: `${what} could not be read: ${why}; ${wanted}`, remedy });

/** Most items that evidence names: a host has no more GPUs or ports than this, unless it makes them up. */
const LIST_LIMIT = 128;

/** "0, 1, 2" */
export const list = (items: readonly (string | number)[]): string => someText(items, LIST_LIMIT);
