import type { Command, Host } from '../types.ts';
import { sourceRefused, sourceUnreachable } from './errors.ts';
import { assertSafe, INDEX, parseManifest, parseSums, wanting } from './files.ts';
import { hubCommit, hubFiles, hubUrl } from './hub.ts';
import type { Source } from './source.ts';
import type { WeightFile } from './types.ts';

/** What the copy works from. */
export interface Listing {
  readonly files: readonly WeightFile[];
  /** Where the bytes of a file are: a URL, or a path on the host. */
  readonly locate: (path: string) => string;
  /** How the copy program gets them. */
  readonly mover: 'web' | 'file' | 'rsync';
  /** Protocols that curl may use, redirects included. */
  readonly protocols: string;
  readonly revision?: string;
}

export interface ListingOptions {
  readonly token?: string;
  /** Folder of the copy on the host; its file "header" holds the Authorization header, 0600, or nothing. */
  readonly work: string;
  readonly signal: AbortSignal;
}

/** No answer of a source is longer than this: 20,000 rows of sums, in bytes. */
const ANSWER_LIMIT = 8 * 1024 ** 2;
const ANSWER_TIMEOUT_MS = 120_000;

/**
 * Lists a source: the Hub is asked from the Temporal worker, everything else from the host, which is who must reach
 * it. What is listed is a model that can be loaded, in paths that stay in their folder. Errors: SOURCE_UNREACHABLE,
 * SOURCE_REFUSED.
 */
export async function list(host: Host, source: Source, options: ListingOptions): Promise<Listing> {
  const listing = await listed(host, source, options);
  return told(host, source, () => {
    assertSafe(listing.files);
    const lacks = wanting(listing.files, undefined);
    if (lacks) throw new SyntaxError(lacks);
    return listing;
  });
}

async function listed(host: Host, source: Source, options: ListingOptions): Promise<Listing> {
  switch (source.kind) {
    case 'hub': {
      const at = { ...source, revision: await hubCommit(source, options) };
      const files = await told(host, source, () => hubFiles(at, options));
      const locate = (path: string) => hubUrl(at, path);
      return { files, locate, mover: 'web', protocols: protocolsOf(at.endpoint), revision: at.revision };
    }
    case 'web': {
      const web = { host, protocols: protocolsOf(source.base), headerFile: `${options.work}/header` };
      const locate = (path: string) => source.base + path.split('/').map(encodeURIComponent).join('/');
      const files = await webFiles(source, web, locate);
      return { files, locate, mover: 'web', protocols: web.protocols };
    }
    case 'rsync':
      return {
        files: await rsyncFiles(host, source, options.work),
        locate: (path) => source.base + path,
        mover: 'rsync',
        protocols: '=https',
      };
    case 'file': {
      const folder = await host.expand(source.folder);
      const files = await folderFiles(host, folder);
      if (!files) throw sourceRefused({ host: host.ref.name, what: folder, seen: 'no such folder' });
      const sums = files.some(({ path }) => path === SUMS) ? await readFile(host, `${folder}/${SUMS}`) : undefined;
      const proven = await told(host, source, () => withSums(files, sums));
      return { files: proven, locate: (path) => `${folder}/${path}`, mover: 'file', protocols: '=https' };
    }
  }
}

const SUMS = 'SHA256SUMS';
/** http only where the spec says http, which it may for loopback only; never by a redirect from https. */
const protocolsOf = (url: string) => (url.startsWith('http:') ? '=http' : '=https');

// ---- Folders on the host

/** Files under a folder on the host with sizes, links followed; undefined when the folder is not there. */
export async function folderFiles(host: Host, folder: string): Promise<WeightFile[] | undefined> {
  const argv = ['find', '-L', folder, '-type', 'f', '-printf', '%s\\t%P\\0'];
  const { stdout, stderr, exitCode, timedOut } = await host.run({ argv, timeoutMs: ANSWER_TIMEOUT_MS });
  if (/No such file or directory|Not a directory/.test(stderr) && stdout === '') return undefined;
  if (exitCode !== 0 || timedOut) throw unreadable(host, folder, stderr);
  return stdout
    .split('\0')
    .filter((row) => row !== '')
    .map((row) => ({ size: Number(row.slice(0, row.indexOf('\t'))), path: row.slice(row.indexOf('\t') + 1) }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The content of a small file of the host. */
export const readFile = (host: Host, path: string): Promise<string> =>
  host.must({ argv: ['cat', '--', path], timeoutMs: ANSWER_TIMEOUT_MS });

/** What keeps the model in this folder from being loaded; undefined when nothing does. */
export async function wantingIn(host: Host, folder: string, files: readonly WeightFile[]): Promise<string | undefined> {
  const index = files.some(({ path }) => path === INDEX) ? await readFile(host, `${folder}/${INDEX}`) : undefined;
  try {
    return wanting(files, index);
  } catch (error) {
    if (error instanceof SyntaxError) return error.message;
    throw error;
  }
}

const unreadable = (host: Host, folder: string, stderr: string) =>
  sourceRefused({
    host: host.ref.name,
    what: folder,
    seen: stderr.trim().split('\n').at(-1) ?? 'it could not be read',
    remedy: `Let ${host.ref.user} read ${folder} on ${host.ref.name}.`,
  });

/** Sizes as found, hashes as SHA256SUMS has them; with sums, only what they prove is taken. */
function withSums(found: readonly WeightFile[], sums: string | undefined): WeightFile[] {
  if (sums === undefined) return found.filter(({ path }) => path !== SUMS);
  const sizes = new Map(found.map(({ path, size }) => [path, size]));
  return parseSums(sums).map((file) => {
    const size = sizes.get(file.path);
    if (size === undefined) throw new SyntaxError(`${SUMS} names ${file.path}, which is not there`);
    return { ...file, size };
  });
}

// ---- https://

interface Web {
  readonly host: Host;
  readonly protocols: string;
  readonly headerFile: string;
}

async function webFiles({ base }: { base: string }, web: Web, locate: (path: string) => string): Promise<WeightFile[]> {
  const sums = await webText(web, base + SUMS);
  if (sums !== undefined) {
    const files = told(web.host, { kind: 'web', base }, () => parseSums(sums));
    return webSizes(web, await files, locate);
  }
  const manifest = await webText(web, `${base}manifest.json`);
  if (manifest !== undefined)
    return told(web.host, { kind: 'web', base }, () => parseManifest('manifest.json', manifest));
  throw sourceRefused({
    host: web.host.ref.name,
    what: base,
    seen: `HTTP 404 for ${SUMS} and for manifest.json`,
    remedy: `Check model.source, and put a ${SUMS} beside the files: cd FOLDER && find . -type f ! -name ${SUMS} -exec sha256sum {} + > ${SUMS}`,
  });
}

const curl = ({ protocols, headerFile }: Web): string[] =>
  // prettier-ignore
  ['curl', '-q', '--silent', '--show-error', '--globoff', '--location', '--max-redirs', '5', '--proto', protocols,
    '--proto-redir', protocols, '--header', `@${headerFile}`, '--connect-timeout', '20'];

/** A text of the source; undefined when it answers 404. */
async function webText(web: Web, url: string): Promise<string | undefined> {
  const argv = [
    ...curl(web),
    '--fail',
    '--max-filesize',
    String(ANSWER_LIMIT),
    '--write-out',
    '\n%{http_code}',
    '--url',
    url,
  ];
  const { stdout, stderr, exitCode, timedOut } = await web.host.run({ argv, timeoutMs: ANSWER_TIMEOUT_MS });
  const lines = stdout.split('\n');
  const status = Number(lines.pop());
  if (exitCode === 0) return lines.join('\n');
  if (status === 404) return undefined;
  throw webFailure(web.host, url, { status, exitCode, seen: timedOut ? 'no answer within 120 s' : stderr.trim() });
}

/** Asks for the sizes in one go. A file whose size the server does not say has none here; its sha256 proves it. */
async function webSizes(
  web: Web,
  files: readonly WeightFile[],
  locate: (path: string) => string,
): Promise<WeightFile[]> {
  const stdin = files.map(({ path }) => `url = "${locate(path).replaceAll('"', '%22')}"\n`).join('');
  const argv = [...curl(web), '--head', '--write-out', '\n= %{http_code}\n', '--config', '-'];
  const { stdout, stderr, exitCode } = await web.host.run({ argv, stdin, timeoutMs: ANSWER_TIMEOUT_MS });
  const answers = stdout.split(/^= (\d{3})$/m); // headers, status, headers, status, …, rest
  return files.map((file, index) => {
    const [headers = '', status = '000'] = answers.slice(2 * index, 2 * index + 2);
    if (status !== '200')
      throw webFailure(web.host, locate(file.path), { status: Number(status), exitCode, seen: stderr.trim() });
    const last = headers.split(/^HTTP\/[\d.]+ \d{3}/m).at(-1)!; // After redirects: the headers of the file itself.
    const size = /^content-length: *(\d+)/im.exec(last)?.[1];
    return size === undefined ? file : { ...file, size: Number(size) };
  });
}

function webFailure(
  host: Host,
  what: string,
  { status, exitCode, seen }: { status: number; exitCode: number; seen: string },
) {
  const refused =
    (status >= 400 && status < 500 && ![408, 425, 429].includes(status)) || [1, 60, 63].includes(exitCode);
  const problem = {
    host: host.ref.name,
    what,
    seen: status >= 300 ? `HTTP ${status}` : seen || `curl ended with ${exitCode}`,
  };
  return refused ? sourceRefused(problem) : sourceUnreachable(problem);
}

// ---- rsync://

async function rsyncFiles(host: Host, source: Extract<Source, { kind: 'rsync' }>, work: string): Promise<WeightFile[]> {
  const listed = await rsync(host, source.base, [
    '--recursive',
    '--copy-links',
    '--list-only',
    '--no-human-readable',
    '--8-bit-output',
    source.base,
  ]);
  const files = listed.split('\n').flatMap((line) => {
    const row = /^-\S+ +(?<size>[\d,]+) \S+ \S+ (?<path>.+)$/.exec(line)?.groups;
    return row ? [{ path: row['path']!, size: Number(row['size']!.replaceAll(',', '')) }] : [];
  });
  if (!files.some(({ path }) => path === SUMS)) return files;
  await rsync(host, source.base, ['--copy-links', `${source.base}${SUMS}`, `${work}/sums`]);
  const sums = await readFile(host, `${work}/sums`);
  return told(host, source, () => withSums(files, sums));
}

async function rsync(host: Host, what: string, args: readonly string[]): Promise<string> {
  const command: Command = { argv: ['rsync', '--no-motd', '--timeout=30', ...args], timeoutMs: ANSWER_TIMEOUT_MS };
  const { stdout, stderr, exitCode, timedOut } = await host.run(command);
  if (exitCode === 0) return stdout;
  const problem = { host: host.ref.name, what, seen: stderr.trim().split('\n')[0] ?? `rsync ended with ${exitCode}` };
  throw timedOut || [10, 12, 30, 35].includes(exitCode) ? sourceUnreachable(problem) : sourceRefused(problem);
}

/** What a parser finds wrong is the source's fault. */
async function told<T>(host: Host, source: Source, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    const what =
      source.kind === 'hub' ? `${source.endpoint}/${source.id}` : source.kind === 'file' ? source.folder : source.base;
    throw sourceRefused({
      host: host.ref.name,
      what,
      seen: cause.message,
      cause,
      remedy: 'Correct the source, or model.source.',
    });
  }
}
