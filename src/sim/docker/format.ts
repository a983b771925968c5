import { DockerError } from './command.ts';

/**
 * The part of Go's templates that `--format` is used with: `json`, `{{json .}}`, `{{.A.B}}`, `{{json .A}}`,
 * `{{index .A "key"}}`, text between. Anything else is an error, as a mistake in a template is for the real client.
 */
export function format(template: string, value: unknown): string {
  if (template === 'json') return JSON.stringify(value);
  const opened = template.split('{{').length;
  if (opened !== template.split('}}').length) throw parseError('unclosed action');
  return template
    .replace(/\\([tn])/g, (_, letter: string) => (letter === 't' ? '\t' : '\n'))
    .replace(/\{\{-?\s*(.*?)\s*-?\}\}/gs, (_, action: string) => evaluate(action, value));
}

function evaluate(action: string, value: unknown): string {
  const json = /^json\s+(.+)$/.exec(action);
  if (json) return JSON.stringify(reach(json[1]!, value) ?? null);
  const found = reach(action, value);
  if (found === undefined || found === null) return '<no value>';
  if (typeof found === 'object') return goMap(found);
  return String(found);
}

function reach(expression: string, value: unknown): unknown {
  const index = /^\(?index\s+(\.\S*)\s+"((?:[^"\\]|\\.)*)"\)?$/.exec(expression);
  if (index) return field(reach(index[1]!, value), index[2]!, true);
  if (!/^\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?$/.test(expression)) {
    const word = /^\w+/.exec(expression)?.[0];
    throw word ? parseError(`function "${word}" not defined`) : parseError(`unexpected "${expression}" in operand`);
  }
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
