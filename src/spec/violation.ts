/** Where something is in a spec: keys and list indexes, outermost first. */
export type Path = readonly (string | number)[];

export type Severity = 'error' | 'warning';

/** Something wrong in a spec, before it has a line and a column. */
export interface Violation {
  readonly severity: Severity;
  /** The key that the message speaks of. */
  readonly path: Path;
  /** Where to point, when that is not the value at `path`. */
  readonly target?: Path;
  /** Point at the key instead of its value. */
  readonly atKey?: boolean;
  readonly message: string;
  readonly remedy: string;
}

/** "hosts.list[2].address"; the whole spec is "". */
export function showPath(path: Path): string {
  return path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('');
}
