import { ClusterSpec } from './schema.ts';
import { violationsOf } from './issues.ts';
import type { SpecDocument } from './document.ts';
import type { Path, Violation } from './violation.ts';

/** A spec that could be read, although parts of it may be stand-ins for what was wrong. */
export interface Reading {
  /** What the schema found wrong with the text as it is. */
  readonly violations: readonly Violation[];
  /** How many more there are than are told. */
  readonly untold: number;
  /** Undefined when too little is right to go on. With holes it serves only to find further errors. */
  readonly spec?: ClusterSpec;
  /** Paths whose value is a stand-in: no rule may judge them. */
  readonly holes: readonly Path[];
}

/**
 * Holds a document against the schema. So that all errors show at once, wrong values are then replaced by stand-ins
 * and the rules across keys can still judge the rest.
 */
export function readSpec(document: SpecDocument): Reading {
  let value = document.value;
  const holes: Path[] = [];
  let first: { readonly violations: readonly Violation[]; readonly untold: number } | undefined;
  // Each round mends at least one level of nesting, and a spec has fewer than ten.
  for (let round = 0; round < 10; round++) {
    const current = value;
    const parsed = ClusterSpec.safeParse(current);
    if (parsed.success) return { ...(first ?? { violations: [], untold: 0 }), spec: parsed.data, holes };
    const found = violationsOf(parsed.error.issues, {
      schema: ClusterSpec,
      valueAt: (path) => at(current, path),
      written: document.written,
    });
    first ??= found;
    if (found.untold > 0) break; // Too little of it is right to look for more.
    value = structuredClone(value);
    for (const { path, target } of found.violations) mend(value, target ?? path, holes);
  }
  return { ...first!, holes };
}

/** Required values, by place; "*" is any list index. What is not here is optional, or an entry of a list or record. */
const STAND_INS: ReadonlyMap<string, unknown> = new Map(
  Object.entries({
    specVersion: 1,
    name: 'x',
    model: { id: 'x', source: 'file:///x' },
    'model.id': 'x',
    'model.source': 'file:///x',
    hosts: { ssh: { user: 'x' }, list: [{ name: 'x', address: 'x', gpus: { product: 'x', count: 1 } }] },
    'hosts.ssh': { user: 'x' },
    'hosts.ssh.user': 'x',
    'hosts.list': [{ name: 'x', address: 'x', gpus: { product: 'x', count: 1 } }],
    'hosts.list.*': { name: 'x', address: 'x', gpus: { product: 'x', count: 1 } },
    'hosts.list.*.name': 'x',
    'hosts.list.*.address': 'x',
    'hosts.list.*.gpus': { product: 'x', count: 1 },
    'hosts.list.*.gpus.product': 'x',
    'hosts.list.*.gpus.count': 1,
    router: { host: 'x' },
    'router.host': 'x',
    'router.external': { url: 'http://x' },
    'router.external.url': 'http://x',
    ...Object.fromEntries(
      ['prefill', 'decode'].flatMap((role) => [
        [role, { replicas: 1, gpus: { product: 'x', count: 1 } }],
        [`${role}.replicas`, 1],
        [`${role}.gpus`, { product: 'x', count: 1 }],
        [`${role}.gpus.product`, 'x'],
        [`${role}.gpus.count`, 1],
      ]),
    ),
  }),
);

/** Puts a stand-in at `path`, or takes the value out; what cannot do without it goes as a whole. */
function mend(root: unknown, path: Path, holes: Path[]): void {
  const last = path.at(-1);
  const parent = at(root, path.slice(0, -1));
  if (last === undefined || typeof parent !== 'object' || parent === null) return;
  const fields = parent as Record<string | number, unknown>;
  const standIn = STAND_INS.get(path.map((part) => (typeof part === 'number' ? '*' : part)).join('.'));
  if (standIn !== undefined) {
    fields[last] = structuredClone(standIn);
    holes.push(path);
  } else if (Array.isArray(parent) || !Object.hasOwn(fields, last)) {
    mend(root, path.slice(0, -1), holes);
  } else {
    delete fields[last];
    holes.push(path);
  }
}

function at(value: unknown, path: Path): unknown {
  let here = value;
  for (const part of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, part)) return undefined;
    here = (here as Record<string | number, unknown>)[part];
  }
  return here;
}

/** Thrown when a rule reads a stand-in: it can say nothing more. */
class HoleRead extends Error {}

/** The spec as a rule may see it: reading a hole stops the rule. */
function guarded<T extends object>(value: T, path: Path, holes: ReadonlySet<string>): T {
  return new Proxy(value, {
    get(target, key, receiver) {
      const field: unknown = Reflect.get(target, key, receiver);
      if (typeof key === 'symbol') return field;
      const here = [...path, Array.isArray(target) && /^\d+$/.test(key) ? Number(key) : key];
      if (holes.has(JSON.stringify(here))) throw new HoleRead();
      return typeof field === 'object' && field !== null && Object.hasOwn(target, key)
        ? guarded(field, here, holes)
        : field;
    },
  });
}

/** Most violations of one rule; each costs words, and a file with as many is no spec. */
const MAX_OF_A_RULE = 1_000;

/** What each rule finds, up to the first stand-in that it reads. */
export function judge(
  rules: readonly ((spec: ClusterSpec) => Iterable<Violation>)[],
  { spec, holes }: { readonly spec: ClusterSpec; readonly holes: readonly Path[] },
): Violation[] {
  const seen = guarded(spec, [], new Set(holes.map((path) => JSON.stringify(path))));
  return rules.flatMap((rule) => judgeOne(rule, seen));
}

function judgeOne(rule: (spec: ClusterSpec) => Iterable<Violation>, spec: ClusterSpec): Violation[] {
  const found: Violation[] = [];
  try {
    for (const violation of rule(spec)) {
      found.push(violation);
      if (found.length === MAX_OF_A_RULE) break;
    }
  } catch (error) {
    if (!(error instanceof HoleRead)) throw error;
  }
  return found;
}
