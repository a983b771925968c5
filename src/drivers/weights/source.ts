import { sourceRefused } from './errors.ts';

/** A source of weights, taken apart. Base addresses end in a slash. */
export type Source =
  | { readonly kind: 'hub'; readonly endpoint: string; readonly id: string; readonly revision: string }
  | { readonly kind: 'web'; readonly base: string }
  | { readonly kind: 'rsync'; readonly base: string }
  | { readonly kind: 'file'; readonly folder: string };

const HUB = /^hf:\/\/(?<id>[\w.-]+(?:\/[\w.-]+)?)(?:@(?<revision>[\w./-]+))?$/;

/**
 * Reads `model.source`. Plain http:// is taken for loopback addresses only, where nobody listens in; a password in a
 * URL is refused, since the spec and the plan are kept. Errors: SOURCE_REFUSED.
 */
export function parseSource(source: string, endpoint = 'https://huggingface.co'): Source {
  const hub = HUB.exec(source)?.groups;
  if (hub)
    return {
      kind: 'hub',
      endpoint: webBase(endpoint).slice(0, -1),
      id: hub['id']!,
      revision: hub['revision'] ?? 'main',
    };
  if (/^https?:\/\//.test(source)) return { kind: 'web', base: webBase(source) };
  if (/^rsync:\/\/[^/]+\/./.test(source)) return { kind: 'rsync', base: slashed(source) };
  const folder = /^file:\/\/(?<folder>(?:~\/|\/).*)$/.exec(source)?.groups?.['folder'];
  if (folder) return { kind: 'file', folder };
  throw refused(source, 'is none of hf://ORG/NAME@REVISION, https://…/, rsync://HOST/…, file:///…');
}

/** The same source with its revision set; as it is where a source has none. */
export const withRevision = (source: string, revision: string): string =>
  HUB.test(source) ? `hf://${HUB.exec(source)!.groups!['id']}@${revision}` : source;

function webBase(text: string): string {
  if (!URL.canParse(text) || !/^https?:\/\//.test(text)) throw refused(text, 'is no https:// address');
  const url = new URL(text);
  if (url.username || url.password)
    throw refused(withoutLogin(url), 'holds a login', 'Put the secret into model.token.');
  if (url.search || url.hash) throw refused(url.origin + url.pathname, 'has a query or a fragment');
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) throw refused(text, 'is not https://');
  return slashed(url.href);
}

const isLoopback = (hostname: string) => /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])$/.test(hostname);

function withoutLogin(url: URL): string {
  return `${url.protocol}//…@${url.host}${url.pathname}`;
}

const slashed = (text: string) => (text.endsWith('/') ? text : `${text}/`);

const refused = (what: string, seen: string, remedy = 'Correct model.source or model.endpoint in the spec.') =>
  sourceRefused({ what, seen: `it ${seen}`, remedy });
