import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A model small enough to look at: path → content. */
export type Model = Map<string, Buffer>;

/** Two shards with an index, a file in a folder, an empty file, and a name with blanks and an umlaut. */
export function tinyModel(shardBytes = 200_000): Model {
  const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  const shard = (seed: number) => Buffer.alloc(shardBytes, `shard ${seed} holds these bytes; `);
  const index = { metadata: { total_size: shardBytes }, weight_map: { 'a.weight': first, 'b.weight': second } };
  return new Map<string, Buffer>([
    ['config.json', Buffer.from('{"architectures":["Tiny"]}')],
    [first, shard(1)],
    [second, shard(2)],
    ['model.safetensors.index.json', Buffer.from(JSON.stringify(index))],
    ['tokenizer/merges, größer.txt', Buffer.from('a b\n')],
    ['added_tokens.json', Buffer.alloc(0)],
  ]);
}

export const FIRST_SHARD = 'model-00001-of-00002.safetensors';

export const sha256Of = (content: Buffer) => createHash('sha256').update(content).digest('hex');
export const gitSha1Of = (content: Buffer) =>
  createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');

export const sumsOf = (model: Model) =>
  Buffer.from([...model].map(([path, content]) => `${sha256Of(content)}  ${path}\n`).join(''));

export interface Seen {
  readonly path: string;
  readonly method: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface Server {
  readonly url: string;
  readonly seen: Seen[];
  /** Bytes of bodies that were sent for a path. */
  readonly sent: Map<string, number>;
  readonly close: () => Promise<void>;
}

/** Answers instead of the content; undefined leaves it to the server. */
export type Fault = (request: IncomingMessage, response: ServerResponse, path: string) => true | undefined;

/** Serves `files` at `address` as a web server does: HEAD, Range, Content-Length. */
export async function serveFiles(address: string, files: Model, fault: Fault = () => undefined): Promise<Server> {
  return serve(address, (request, response, path, sent) => {
    if (fault(request, response, path)) return;
    const content = files.get(path);
    if (!content) return void response.writeHead(404).end('not here');
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const body = content.subarray(from);
    const range = from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': body.length, ...range });
    if (request.method === 'HEAD') return void response.end();
    sent.set(path, (sent.get(path) ?? 0) + body.length);
    response.end(body);
  });
}

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

export interface HubOptions {
  readonly model: Model;
  /** Where big files are; its address is another host than the Hub's. */
  readonly cdn: string;
  /** Only with this token. */
  readonly token?: string;
  /** Listed instead of the model's own rows. */
  readonly rows?: readonly object[];
  readonly fault?: Fault;
  /** Base of the second page's link, where it is not the Hub's own. */
  readonly nextPage?: string;
}

/** The part of the Hub's API that a listing and a download ask, for the model acme/tiny: in two pages, LFS on another host. */
export async function serveHub(
  address: string,
  { model, cdn, token, rows, fault, nextPage }: HubOptions,
): Promise<Server> {
  const listed = rows ?? [...model].map(([path, content]) => treeRow(path, content));
  const hub = await serve(address, (request, response, path, sent) => {
    if (fault?.(request, response, path)) return;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`)
      return void response.writeHead(401, { 'x-error-code': 'GatedRepo' }).end('{"error":"gated"}');
    const json = (value: unknown, headers = {}) =>
      response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
    if (path === 'api/models/acme/tiny/revision/main') return void json({ _id: '1', id: 'acme/tiny', sha: COMMIT });
    if (path === `api/models/acme/tiny/tree/${COMMIT}`) {
      const second = request.url!.includes('cursor=2');
      const half = Math.ceil(listed.length / 2);
      const next = `<${nextPage ?? hub.url}api/models/acme/tiny/tree/${COMMIT}?recursive=true&cursor=2>; rel="next"`;
      return void json(second ? listed.slice(half) : listed.slice(0, half), second ? {} : { link: next });
    }
    const file = /^acme\/tiny\/resolve\/(?<commit>[0-9a-f]{40})\/(?<file>.+)$/.exec(path)?.groups;
    const content = file?.['commit'] === COMMIT ? model.get(file['file']!) : undefined;
    if (!file || !content) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    if (isBig(file['file']!))
      return void response.writeHead(302, { location: cdn + file['file'] }).end('Found. Redirecting.');
    sent.set(file['file']!, (sent.get(file['file']!) ?? 0) + content.length);
    response.writeHead(200, { 'content-length': content.length }).end(content);
  });
  return hub;
}

const isBig = (path: string) => path.endsWith('.safetensors');

const treeRow = (path: string, content: Buffer) => ({
  type: 'file',
  path,
  size: content.length,
  ...(isBig(path)
    ? { oid: '1'.repeat(40), lfs: { oid: sha256Of(content), size: content.length, pointerSize: 135 } }
    : { oid: gitSha1Of(content) }),
});

type Answer = (request: IncomingMessage, response: ServerResponse, path: string, sent: Map<string, number>) => void;

async function serve(address: string, answer: Answer): Promise<Server> {
  const [seen, sent]: [Seen[], Map<string, number>] = [[], new Map()];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.split('?')[0]!.slice(1));
    const { range, authorization } = request.headers;
    seen.push({ path, method: request.method!, range, authorization });
    answer(request, response, path, sent);
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return {
    url: `http://${address}:${(server.address() as AddressInfo).port}/`,
    seen,
    sent,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
