import { loadSpec } from '../../src/spec/diagnostics.ts';

/** A valid spec, one key a line where tests change it. */
export const BASE = `specVersion: 1
name: tiny
model: { id: a/b, source: file:///models/b }
engine:
  image: rocm/sgl-dev:v0.5.23
  version: 0.5.23
  args: {}
hosts:
  ssh: { user: ops }
  list:
    - { name: p0, address: 10.0.0.1, gpus: { product: MI300X, count: 8 } }
    - { name: d0, address: 10.0.0.2, gpus: { product: MI300X, count: 8 } }
    - { name: r0, address: 10.0.0.3, gpus: { product: MI300X, count: 0 } }
prefill: { replicas: 1, gpus: { product: MI300X, count: 8 } }
decode: { replicas: 1, gpus: { product: MI300X, count: 8 } }
router: { host: r0, runtime: process }
`;

/** BASE with each `from` (there exactly once) replaced. */
export function changed(...changes: readonly (readonly [from: string, to: string])[]): string {
  return changes.reduce((text, [from, to]) => {
    if (text.split(from).length !== 2) throw new Error(`"${from}" is not in the text exactly once`);
    return text.replace(from, () => to);
  }, BASE);
}

/** Lines of BASE that tests change most. */
export const PREFILL = 'prefill: { replicas: 1, gpus: { product: MI300X, count: 8 } }';
export const DECODE = 'decode: { replicas: 1, gpus: { product: MI300X, count: 8 } }';
export const ROUTER = 'router: { host: r0, runtime: process }';
export const ROUTER_HOST = '    - { name: r0, address: 10.0.0.3, gpus: { product: MI300X, count: 0 } }\n';

/** BASE with these engine args. */
export const changedArgs = (args: string): string => changed(['args: {}', `args: { ${args} }`]);

/** Every diagnostic in one line: "14:21 error prefill.replicas: message → remedy". */
export const diagnose = (text: string, options: Parameters<typeof loadSpec>[2] = {}): string[] =>
  loadSpec(text, 'a.yaml', options).diagnostics.map(
    ({ line, column, severity, path, message, remedy }) =>
      `${line}:${column} ${severity} ${path}: ${message} → ${remedy}`,
  );
