import { LIMITS, requestProblem, utf8Bytes, type RequestTexts } from '../text/limits.ts';
import { visible } from '../text/visible.ts';
import { OPERATIONS } from './outcomes.ts';
import type { AdoptRequest, BreakRequest, By, OperationRequest } from './requests.ts';

/**
 * What a message to the entity must look like before anything is done with it: whoever may write to Temporal may send
 * anything, an older or a newer CLI too. Each says what is wrong and what was wanted; undefined where nothing is. The
 * full parse of a spec is no business of the sandbox: it is the first activity of an operation.
 */
export function wrongInOperation(request: unknown): string | undefined {
  const wrong = wrongIn('the request', request, OPERATION);
  if (wrong !== undefined) return wrong;
  const { spec: aim, specDigest } = request as OperationRequest;
  return (aim === undefined) === (specDigest === undefined)
    ? undefined
    : 'the request has one of spec and specDigest without the other';
}

export const wrongInBy = (by: unknown): string | undefined => wrongIn('the request', by, BY);

export const wrongInAdoption = (request: unknown): string | undefined => wrongIn('the request', request, ADOPTION);

export const wrongInBreaking = (request: unknown): string | undefined => wrongIn('the request', request, BREAKING);

/** Most JSON text of one request, in characters. */
const REQUEST_CHARACTERS = 512 * 1024;

interface Rule {
  readonly wanted: string;
  readonly fits: (value: unknown) => boolean;
  readonly optional?: boolean;
}

type Shape<T> = { readonly [Key in keyof Required<T>]: Rule };

const text = (bytes: number): Rule => ({
  wanted: `text of 1 to ${bytes} bytes`,
  fits: (value) => typeof value === 'string' && value !== '' && utf8Bytes(value) <= bytes,
});
const optional = (rule: Rule): Rule => ({ ...rule, optional: true });
const flag: Rule = { wanted: 'true or false', fits: (value) => typeof value === 'boolean' };
const time: Rule = {
  wanted: 'a time as in 2026-11-30T12:00:00Z',
  fits: (value) => typeof value === 'string' && value.length <= 40 && !Number.isNaN(Date.parse(value)),
};
const listOf = (rule: Rule): Rule => ({
  wanted: `a list, each ${rule.wanted}`,
  fits: (value) => Array.isArray(value) && value.every(rule.fits),
});
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const within = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce<unknown>((at, key) => (isObject(at) ? at[key] : undefined), value);

/** The keys that an entity reads itself, before the spec is parsed. */
const spec: Rule = {
  wanted: 'a spec with name, site, model.id, prefill.replicas, decode.replicas, hosts.list',
  fits: (value) =>
    text(LIMITS.actor).fits(within(value, 'name')) &&
    text(LIMITS.actor).fits(within(value, 'site')) &&
    text(LIMITS.actor).fits(within(value, 'model', 'id')) &&
    [within(value, 'prefill', 'replicas'), within(value, 'decode', 'replicas')].every(Number.isInteger) &&
    Array.isArray(within(value, 'hosts', 'list')),
};
const digest = text(LIMITS.actor);
const reason = optional({
  wanted: `text of at most ${LIMITS.reason} bytes`,
  fits: (value) => typeof value === 'string' && utf8Bytes(value) <= LIMITS.reason,
});

const BY: Shape<By> = { actor: text(LIMITS.actor), reason };

const OPERATION: Shape<OperationRequest> = {
  ...BY,
  operation: {
    wanted: `one of ${OPERATIONS.join(', ')}, which this Temporal worker knows`,
    fits: (value) => OPERATIONS.some((known) => known === value),
  },
  spec: optional(spec),
  specDigest: optional(digest),
  notAfter: time,
  memo: optional({
    wanted: 'names with texts',
    fits: (value) => isObject(value) && Object.values(value).every((one) => typeof one === 'string'),
  }),
  purge: optional(flag),
  takeOver: optional(flag),
  abandon: optional(listOf(text(LIMITS.actor))),
};

const ADOPTION: Shape<AdoptRequest> = {
  ...BY,
  installation: text(LIMITS.actor),
  lastDeployment: { wanted: 'a number from 0', fits: (value) => Number.isInteger(value) && (value as number) >= 0 },
  serving: {
    wanted: 'null, or what serves',
    fits: (value) => value === null || (isObject(value) && Array.isArray(value['engines'])),
  },
  spec,
  specDigest: digest,
  notAfter: time,
};

const BREAKING: Shape<BreakRequest> = {
  spec,
  host: text(LIMITS.actor),
  leases: {
    wanted: 'a list of leases, as they were seen',
    fits: (value) =>
      Array.isArray(value) && value.length > 0 && value.every((one) => text(64).fits(within(one, 'pci'))),
  },
  actor: text(LIMITS.actor),
  reason: text(LIMITS.reason),
  force: flag,
  notAfter: time,
};

function wrongIn(what: string, value: unknown, shape: Readonly<Record<string, Rule>>): string | undefined {
  if (!isObject(value)) return `${what} is ${shown(value)}, wanted an object`;
  const { length } = JSON.stringify(value);
  if (length > REQUEST_CHARACTERS) return `${what} has ${length} characters, wanted at most ${REQUEST_CHARACTERS}`;
  const strange = Object.keys(value).find((key) => !Object.hasOwn(shape, key));
  if (strange !== undefined)
    return `${what} has ${shown(strange)}, which this Temporal worker does not know; one of the same release as the CLI would`;
  for (const [key, rule] of Object.entries(shape)) {
    const one = value[key];
    if (one === undefined ? !rule.optional : !rule.fits(one))
      return `${what}: ${key} is ${shown(one)}, wanted ${rule.wanted}`;
  }
  const problem = requestProblem(value as RequestTexts);
  return problem && `${what}: ${problem.field} ${problem.problem}`;
}

const shown = (value: unknown): string => {
  const told = visible(JSON.stringify(value) ?? 'missing');
  return told.length > 80 ? `${told.slice(0, 80)}…` : told;
};
