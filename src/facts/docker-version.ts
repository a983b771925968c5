import type { Fact, ToolOutput } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';
import { type Json, at, jsonIn, textOf } from './tool-json.ts';

/** The version of the Docker Engine that answers, never the client's. Source: docker-version(1), docker-info(1). */
export const dockerVersion: Fact<string> = {
  name: 'docker-version',
  command: () => ['docker', 'version', '--format', '{{json .}}'],
  timeoutMs: 10_000,
  parse(output) {
    const root = jsonIn(output.stdout);
    const version = root === undefined ? inText(output.stdout) : inJson(root);
    if (version === undefined) throw new SyntaxError(whyNot(root, output));
    return version;
  },
};

/** `docker version` names the engine among the components of the server; `docker info` has the server's version only. */
function inJson(root: Json): string | undefined {
  const components = at(root, 'server', 'components');
  const engine = Array.isArray(components)
    ? (components as readonly Json[]).find((component) => at(component, 'name') === 'Engine')
    : undefined;
  return textOf(at(engine, 'version') ?? at(root, 'server', 'version') ?? at(root, 'serverversion'));
}

function inText(text: string): string | undefined {
  const lines = linesOf(text);
  const head = lines.findIndex((line) => line.startsWith('Server:'));
  if (head < 0) return undefined;
  const next = lines.findIndex((line, index) => index > head && /^\S/.test(line));
  const server = lines.slice(head + 1, next < 0 ? undefined : next);
  const engine = server.slice(server.findIndex((line) => line.trim() === 'Engine:') + 1);
  return engine.map((line) => /^\s+(?:Server )?Version:\s+(\S+)/.exec(line)?.[1]).find((found) => found !== undefined);
}

function whyNot(root: Json | undefined, output: ToolOutput): string {
  const errors = at(root, 'servererrors');
  if (Array.isArray(errors)) return `the Docker Engine did not answer: ${errors.join('; ')}`;
  const first = linesOf(output.stderr).find((line) => line.trim() !== '');
  if (root !== undefined) return `the Docker Engine did not answer${first ? `: ${first.trim()}` : ''}`;
  return whyNothing('docker', output);
}
