import type { ClusterSpec } from '../schema.ts';
import type { Path, Violation } from '../violation.ts';

/** What a rule may know besides the spec. */
export interface RuleContext {
  /** The characters of a value as they stand in the file; undefined for defaults, lists and mappings. */
  readonly written: (path: Path) => string | undefined;
  /** Names of all checks, where the caller knows them. */
  readonly checkNames?: readonly string[];
}

/** A rule across keys: yields every violation, in any order. Rules are listed in index.ts. */
export type Rule = (spec: ClusterSpec, context: RuleContext) => Iterable<Violation>;

type Finding = Omit<Violation, 'severity'>;

export const error = (finding: Finding): Violation => ({ severity: 'error', ...finding });
export const warning = (finding: Finding): Violation => ({ severity: 'warning', ...finding });

export const ROLES = ['prefill', 'decode'] as const;
