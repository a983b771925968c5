import { DeployError } from '../../errors.ts';
import { NetworkError, type NetworkCode } from '../fetch.ts';
import type { FetchInit } from '../types.ts';
import type { Connection } from './connection.ts';

/**
 * One request by curl on the host, for hosts that allow no forwarding. All it needs travels on its stdin, since headers
 * hold keys. The response arrives whole, up to the limit of a command's output.
 * Errors: NetworkError, COMMAND_FAILED without curl, and those of the connection.
 */
export async function curlFetch(
  connection: Connection,
  url: string,
  { method = 'GET', headers = {}, body, timeoutMs, signal }: FetchInit,
  outer: AbortSignal | undefined,
): Promise<Response> {
  const options: [name: string, value: string][] = [
    ['url', url],
    ['request', method],
    ['max-time', (timeoutMs / 1000).toFixed(3)],
    ['header', 'Expect:'],
    ...Object.entries(headers).map(([name, value]): [string, string] => ['header', `${name}: ${value}`]),
    // "data-raw" alone takes a leading @ as it is; curl adds a content type that fetch would not.
    ...(body === undefined ? [] : ([['data-raw', body]] as [string, string][])),
  ];
  const signals = [signal, outer].filter((one) => one !== undefined);
  const [output] = await connection.run(
    [
      {
        argv: [
          'curl',
          '--disable',
          '--silent',
          '--show-error',
          '--include',
          '--http1.1',
          '--noproxy',
          '*',
          '--config',
          '-',
          ...(method === 'HEAD' ? ['--head'] : []),
        ],
        stdin: options.map(([name, value]) => `${name} = ${quoted(value)}\n`).join(''),
        timeoutMs: timeoutMs + 5_000,
      },
    ],
    { signal: signals.length === 0 ? undefined : AbortSignal.any(signals) },
  );
  const { exitCode, stdout, stderr, truncated } = output!;
  if (exitCode === 127 || exitCode === 126) {
    throw new DeployError({
      code: 'COMMAND_FAILED',
      message: `${connection.ref.name} allows no TCP forwarding over SSH and has no curl`,
      remedy: 'Set AllowTcpForwarding yes in its sshd_config, or install curl.',
      retryable: false,
      host: connection.ref.name,
      evidence: stderr,
    });
  }
  if (exitCode !== 0)
    throw new NetworkError(codeOf(exitCode, stderr), url, stderr.trim() || `curl ended with ${exitCode}`);
  if (truncated) throw new NetworkError('EPROTO', url, 'the answer is longer than curl on the host may bring');
  return parse(url, stdout);
}

function quoted(value: string): string {
  const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  return `"${value.replaceAll(/[\\"\n\r\t]/g, (character) => escapes[character]!)}"`;
}

/** The last head that curl printed, and the body after it; earlier heads are of "100 Continue". */
function parse(url: string, text: string): Response {
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    const [first = '', ...lines] = rest.slice(0, end).split('\r\n');
    const status = Number(/^HTTP\/\S+ (\d{3})/.exec(first)?.[1]);
    if (end < 0 || Number.isNaN(status)) throw new NetworkError('EPROTO', url, 'the answer is not HTTP');
    rest = rest.slice(end + 4);
    if (status < 200) continue;
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    return new Response([204, 205, 304].includes(status) ? null : rest, { status, headers });
  }
}

const CODES: Readonly<Record<number, NetworkCode>> = { 6: 'ENOTFOUND', 7: 'ECONNREFUSED', 28: 'ETIMEDOUT' };

function codeOf(exitCode: number, stderr: string): NetworkCode {
  if (exitCode === 7 && /no route|unreachable/i.test(stderr)) return 'EHOSTUNREACH';
  return CODES[exitCode] ?? 'ECONNRESET';
}
