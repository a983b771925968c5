import type { z } from 'zod';
import { didYouMean, nearest } from './nearest.ts';
import { docOf, keysOf, schemaAt, unionArms } from './schema-walk.ts';
import type { Path, Violation } from './violation.ts';

type Issue = z.core.$ZodIssue;

/** What an issue is told against: the schema and the data below `path`. */
interface Scope {
  readonly schema: z.core.$ZodType;
  readonly path: Path;
  readonly valueAt: (path: Path) => unknown;
  /** The characters of a value as they stand in the file. */
  readonly written: (path: Path) => string | undefined;
}

/** Most violations that are put into words; a file with as many is no spec, and each word costs a search for what was meant. */
const MAX_EXPLAINED = 1_000;

/**
 * What the schema found wrong, in the words of the spec, and how many more there are beyond the most that are told.
 * Secrets are never repeated in a message.
 */
export function violationsOf(
  issues: readonly Issue[],
  { schema, valueAt, written }: Pick<Scope, 'schema' | 'valueAt' | 'written'>,
): { readonly violations: Violation[]; readonly untold: number } {
  const all = issues.flatMap((issue) => explain(issue, { schema, path: [], valueAt, written }));
  const violations = all.slice(0, MAX_EXPLAINED).map((inWords) => inWords());
  return { violations, untold: all.length - violations.length };
}

/** A violation that is put into words when it is asked for: counting them is cheap. */
type Untold = () => Violation;

function explain(issue: Issue, scope: Scope): Untold[] {
  const path = [...scope.path, ...(issue.path as Path)];
  switch (issue.code) {
    case 'unrecognized_keys':
      return unknownKeys(issue.keys, path, issue.path as Path, scope);
    case 'invalid_union':
      return explainUnion(issue, path, scope);
    case 'invalid_key':
      return [
        () =>
          wrong(
            path,
            `${issue.issues[0]?.message ?? 'is no fit name'}, got "${shortened(String(path.at(-1)))}"`,
            'Rename it.',
            true,
          ),
      ];
    default:
      return [() => misfit(issue, path, scope)];
  }
}

function misfit(issue: Issue, path: Path, scope: Scope): Violation {
  const value = scope.valueAt(path);
  if (value === undefined) return missing(path, schemaAt(scope.schema, issue.path as Path));
  const { wanted, remedy } = want(issue, path, scope);
  const number = typeof value === 'number' && wanted === 'must be text' ? 'the number ' : '';
  const long = issue.code === 'too_big' && typeof value === 'string';
  const got = isTooManyKeys(issue)
    ? String(Object.keys(value as object).length)
    : long
      ? String(value.length)
      : `${number}${describe(value, path, scope.written)}`;
  return wrong(path, `${wanted}, got ${got}${didYouMeanOf(issue, value)}`, remedy);
}

const isTooManyKeys = (issue: Issue): boolean => issue.code === 'too_big' && issue.origin === 'record';

const wrong = (path: Path, message: string, remedy: string, atKey = false): Violation => ({
  severity: 'error',
  path,
  ...(atKey ? { atKey } : {}),
  message,
  remedy,
});

function missing(path: Path, schema: z.core.$ZodType | undefined): Violation {
  const doc = docOf(schema);
  return wrong(path, 'is missing', `Add ${String(path.at(-1))}${doc ? `: ${lowerFirst(doc)}` : '.'}`);
}

function unknownKeys(keys: readonly string[], path: Path, below: Path, { schema, valueAt }: Scope): Untold[] {
  const arms = armsByFit(schemaAt(schema, below), valueAt(path)).map(keysOf);
  return keys.map((key) => () => unknownKey(key, path, arms));
}

function unknownKey(key: string, path: Path, arms: readonly (readonly string[])[]): Violation {
  const [known = []] = arms;
  const choice = arms.map((keys) => keys.join(', ')).join('; or ');
  const at = { severity: 'error', path, target: [...path, key], atKey: true } as const;
  if (arms.some((keys) => keys.includes(key))) {
    const message = `"${key}" does not go together with the other keys here`;
    return { ...at, message, remedy: `The keys here are either ${choice}.` };
  }
  const found = nearest(key, known);
  const remedy =
    key === 'revision' && path.at(-1) === 'model'
      ? 'Write it at the end of model.source: hf://ORG/NAME@REVISION.'
      : found !== undefined
        ? `Write ${found}.`
        : `The keys here are ${choice}.`;
  return { ...at, message: `unknown key "${shortened(key)}"${didYouMean(key, known)}`, remedy };
}

/** Speaks of the arm that was meant, or in the union's own words where none fits the kind of the value. */
function explainUnion(issue: z.core.$ZodIssueInvalidUnion, path: Path, scope: Scope): Untold[] {
  const union = schemaAt(scope.schema, issue.path as Path);
  const options = unionArms(union);
  const value = scope.valueAt(path);
  if (value === undefined) return [() => missing(path, union)];
  const fitting = issue.errors
    .map((issues, i) => ({ issues, schema: options[i] }))
    .filter(({ issues }) => issues.every(({ path: at, code }) => at.length > 0 || code === 'unrecognized_keys'));
  const meant = armsByFit(union, value)
    .map((arm) => fitting.find(({ schema }) => schema === arm))
    .find((arm) => arm !== undefined);
  if (!meant?.schema) {
    return [() => wrong(path, `${issue.message}, got ${describe(value, path, scope.written)}`, hint(union, path))];
  }
  // The keys of the other arms are still known when unknown ones are explained: the scope stays at the union for them.
  return meant.issues.flatMap((inner) =>
    inner.code === 'unrecognized_keys' && inner.path.length === 0
      ? unknownKeys(inner.keys, path, issue.path as Path, scope)
      : explain(inner, { ...scope, schema: meant.schema!, path }),
  );
}

/** The arms of a union, that which has most of the keys written first; what is no union is its only arm. */
function armsByFit(schema: z.core.$ZodType | undefined, value: unknown): readonly z.core.$ZodType[] {
  const arms = unionArms(schema);
  if (arms.length === 0) return schema ? [schema] : [];
  const written = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  const strangers = new Map(
    arms.map((arm) => {
      const known = new Set(keysOf(arm));
      return [arm, written.filter((key) => !known.has(key)).length];
    }),
  );
  return arms.toSorted((a, b) => strangers.get(a)! - strangers.get(b)!);
}

function want(issue: Issue, path: Path, { valueAt, written, schema }: Scope): { wanted: string; remedy: string } {
  const value = valueAt(path);
  const text = written(path);
  const doc = hint(schemaAt(schema, issue.path as Path), path);
  switch (issue.code) {
    case 'invalid_type': {
      if (value === null && text === '') {
        const wanted = `must be ${kindOf(issue.expected)}`;
        return {
          wanted,
          remedy: issue.expected === 'string' ? 'Write the value behind the colon, or "" for an empty text.' : doc,
        };
      }
      if (issue.expected === 'string' && isScalar(value)) {
        return { wanted: 'must be text', remedy: `Quote it: "${text ?? ''}".` };
      }
      return { wanted: `must be ${kindOf(issue.expected)}`, remedy: plainly(issue.expected, value) ?? doc };
    }
    case 'invalid_value': {
      const choices = issue.values.map(String);
      const found = nearest(String(value), choices);
      const wanted = choices.length === 1 ? `must be ${choices[0]}` : `must be one of ${choices.join(', ')}`;
      return { wanted, remedy: found === undefined ? doc : `Write ${found}.` };
    }
    case 'too_small':
    case 'too_big':
      return { wanted: `must ${bound(issue)}`, remedy: doc };
    default:
      return { wanted: issue.message, remedy: doc };
  }
}

/** How to write what was meant, where it is another kind only by its spelling. */
function plainly(expected: string, value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  if (['number', 'int'].includes(expected) && /^-?\d+(?:\.\d+)?$/.test(value)) return 'Leave the quotes out.';
  if (expected !== 'boolean') return undefined;
  if (/^(?:y|yes|on|true)$/i.test(value)) return 'Write true.';
  return /^(?:n|no|off|false)$/i.test(value) ? 'Write false.' : undefined;
}

function bound(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const limit = Number(issue.code === 'too_small' ? issue.minimum : issue.maximum);
  if (issue.origin === 'string')
    return issue.code === 'too_small' ? 'not be empty' : `have at most ${limit} characters`;
  if (issue.origin === 'record') return `have at most ${limit} keys`;
  if (issue.origin === 'array' && issue.code === 'too_small')
    return `have at least ${limit} ${limit === 1 ? 'entry' : 'entries'}`;
  if (issue.code === 'too_small') return issue.inclusive === false ? `be more than ${limit}` : `be at least ${limit}`;
  return issue.inclusive === false ? `be less than ${limit}` : `be at most ${limit}`;
}

const didYouMeanOf = (issue: Issue, value: unknown) =>
  issue.code === 'invalid_value' && typeof value === 'string' ? didYouMean(value, issue.values.map(String)) : '';

const KINDS: ReadonlyMap<string, string> = new Map([
  ['string', 'text'],
  ['number', 'a number'],
  ['int', 'a whole number'],
  ['boolean', 'true or false'],
  ['array', 'a list'],
  ['object', 'a mapping'],
  ['record', 'a mapping'],
]);
const kindOf = (expected: string) => KINDS.get(expected) ?? expected;

const isScalar = (value: unknown) => typeof value !== 'object' || value === null;

/** A value as it is repeated in a message: by its kind alone where it could be a secret. */
function describe(value: unknown, path: Path, written: (path: Path) => string | undefined): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (value instanceof Date) return 'a date';
  if (value === null) return written(path) === 'null' || written(path) === '~' ? 'null' : 'nothing';
  if (typeof value === 'object') return 'a mapping';
  const text = written(path) ?? JSON.stringify(value);
  if (path.some((key) => SECRET_PLACES.has(String(key)))) return 'a value that is not shown here';
  if (typeof value !== 'string') return text;
  const shown = value.replace(/:\/\/[^/@\s:]+:[^/@\s]+@/, '://…@'); // A login in a URL is a secret.
  return value === '' ? 'an empty text' : JSON.stringify(shortened(shown));
}

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 57)}…` : text);

const SECRET_PLACES = new Set(['token', 'password', 'becomePassword', 'apiKey', 'adminKey', 'secretEnv']);

/** Names the key and what it is for. */
function hint(schema: z.core.$ZodType | undefined, path: Path): string {
  const doc = docOf(schema);
  return doc ? `Correct ${String(path.at(-1))}: ${lowerFirst(doc)}` : 'See specs/reference.yaml for what goes here.';
}

/** An acronym keeps its capitals. */
const lowerFirst = (text: string) =>
  /^[A-Z][a-z ]/.test(text) ? text.slice(0, 1).toLowerCase() + text.slice(1) : text;
