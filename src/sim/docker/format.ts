import { DockerError } from './command.ts';

/**
 * The part of Go's templates that `--format` is used with: `json`, `{{json .}}`, `{{.A.B}}`, `{{json .A}}`,
 * `{{index .A "key"}}`, text between. Anything else is an error, as a mistake in a template is for the real client.
 */
export function format(template: string, value: unknown): string {
  checkTemplate(template);
  if (template === 'json') return JSON.stringify(value);
  return template
    .replace(/\\([tn])/g, (_, letter: string) => (letter === 't' ? '\t' : '\n'))
    .replace(ACTION, (_, action: string) => evaluate(bare(action), value));
}

/** The client reads the template before it asks the engine. Throws `DockerError` for one that it cannot read. */
export function checkTemplate(template: string): void {
  if (template.split('{{').length !== template.split('}}').length) throw parseError('unclosed action');
  for (const [, action = ''] of template.matchAll(ACTION)) {
    const expression = asJson(bare(action)) ?? bare(action);
    if (INDEX.test(expression) || FIELD.test(expression)) continue;
    const word = /^\w+/.exec(expression)?.[0];
    throw parseError(word ? `function "${word}" not defined` : `unexpected "${expression}" in operand`);
  }
}

const ACTION = /\{\{([^{}]*)\}\}/g;
/** Without the dashes that trim blanks, and without blanks. */
const bare = (action: string): string => action.replace(/^-/, '').replace(/-$/, '').trim();
const asJson = (action: string): string | undefined =>
  /^json\s/.test(action) ? action.slice('json'.length).trim() : undefined;
const INDEX = /^\(?index\s+(\.\S*)\s+"((?:[^"\\]|\\.)*)"\)?$/;
const FIELD = /^\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?$/;

function evaluate(action: string, value: unknown): string {
  const json = asJson(action);
  if (json !== undefined) return JSON.stringify(reach(json, value) ?? null);
  const found = reach(action, value);
  if (found === undefined || found === null) return '<no value>';
  if (typeof found === 'object') return goMap(found);
  return text(found);
}

/** Strings, numbers and booleans as Go prints them. */
const text = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

function reach(expression: string, value: unknown): unknown {
  const index = INDEX.exec(expression);
  if (index) return field(reach(index[1]!, value), index[2]!, true);
  const names = expression
    .slice(1)
    .split('.')
    .filter((name) => name !== '');
  return names.reduce((at, name) => field(at, name, false), value);
}

function field(of: unknown, name: string, optional: boolean): unknown {
  const found = typeof of === 'object' && of !== null ? (of as Record<string, unknown>)[name] : undefined;
  if (found === undefined && !optional) {
    throw new DockerError(`template: :1:2: executing "" at <.${name}>: map has no entry for key "${name}"\n`);
  }
  return found ?? '';
}

const goMap = (value: object): string =>
  Array.isArray(value)
    ? `[${value.map(String).join(' ')}]`
    : `map[${Object.entries(value)
        .map(([key, its]) => `${key}:${String(its)}`)
        .toSorted()
        .join(' ')}]`;

const parseError = (what: string) => new DockerError(`template parsing error: template: :1: ${what}\n`, 64);
