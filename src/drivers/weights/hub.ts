import { listFiles, modelInfo } from '@huggingface/hub';
import { DeployError } from '../../errors.ts';
import { sourceRefused, sourceUnreachable } from './errors.ts';
import { gitSha1, sha256 } from './files.ts';
import type { Source } from './source.ts';
import type { WeightFile } from './types.ts';

type Hub = Extract<Source, { kind: 'hub' }>;

interface HubCall {
  readonly token?: string;
  readonly signal: AbortSignal;
}

/** Longest wait for one answer of the Hub, in milliseconds. */
const ANSWER_TIMEOUT_MS = 30_000;
const COMMIT = /^[0-9a-f]{40}$/;

/**
 * The commit that a revision stands for now; a commit stands for itself and nobody is asked. The Hub is asked from
 * the Temporal worker. Errors: SOURCE_UNREACHABLE, SOURCE_REFUSED.
 */
export async function hubCommit(source: Hub, call: HubCall): Promise<string> {
  if (COMMIT.test(source.revision)) return source.revision;
  const answer = await asked(source, call, (fetch) =>
    modelInfo({
      name: source.id,
      revision: source.revision,
      hubUrl: source.endpoint,
      additionalFields: ['sha'],
      fetch,
    }),
  );
  const commit = String(answer.sha);
  if (!COMMIT.test(commit))
    throw sourceRefused({
      what: nameOf(source),
      seen: `the Hub named no commit but ${JSON.stringify(commit)}`,
    });
  return commit;
}

/** The files of a model at `source.revision`, with sizes and hashes: of big files (LFS) the sha256, of others the git blob's id. */
export async function hubFiles(source: Hub, call: HubCall): Promise<WeightFile[]> {
  return asked(source, call, async (fetch) => {
    const files: WeightFile[] = [];
    const entries = listFiles({
      repo: { type: 'model', name: source.id },
      recursive: true,
      revision: source.revision,
      hubUrl: source.endpoint,
      fetch,
    });
    for await (const { type, path, size, oid, lfs } of entries) {
      if (type !== 'file') continue;
      files.push(lfs ? { path, size: lfs.size, hash: sha256(lfs.oid) } : { path, size, hash: gitSha1(oid ?? '') });
    }
    return withoutOtherFormats(files);
  });
}

/** Where the bytes of a file are. The Hub answers with them, or with a redirect to another host that is not told the token. */
export const hubUrl = ({ endpoint, id, revision }: Hub, path: string): string =>
  `${endpoint}/${id}/resolve/${revision}/${path.split('/').map(encodeURIComponent).join('/')}`;

/** Many models hold their weights two or three times; SGLang reads safetensors where there are any. */
function withoutOtherFormats(files: readonly WeightFile[]): WeightFile[] {
  const safetensors = files.some(({ path }) => /^[^/]+\.safetensors$/.test(path));
  const other = /^original\/|(?:^|\/)pytorch_model[^/]*\.bin|\.(?:pth|h5|msgpack|onnx|gguf|ot|tflite)$/;
  return files.filter(({ path }) => !path.startsWith('.git') && !(safetensors && other.test(path)));
}

/**
 * The client takes only tokens that begin with hf_, which mirrors need not have, so the header is set here; never for
 * another origin than the endpoint's, wherever a page link may point.
 */
async function asked<T>(source: Hub, { token, signal }: HubCall, ask: (fetch: typeof globalThis.fetch) => Promise<T>) {
  const origin = new URL(source.endpoint).origin;
  const what = nameOf(source);
  const hubFetch: typeof globalThis.fetch = async (input, init) => {
    const url = String(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (token !== undefined && new URL(url).origin === origin) headers.set('authorization', `Bearer ${token}`);
    const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
    const response = await fetch(url, { ...init, headers, signal: limit });
    if (!response.ok) throw refusalOf(what, response);
    return response;
  };
  try {
    return await ask(hubFetch);
  } catch (cause) {
    if (cause instanceof DeployError || signal.aborted) throw cause;
    if ((cause as Error).name === 'SyntaxError')
      throw sourceRefused({ what, seen: `the Hub’s answer is not as documented: ${reasonOf(cause)}`, cause });
    throw sourceUnreachable({ what, seen: `no answer from ${origin} (${reasonOf(cause)})`, cause });
  }
}

/** The code that the Hub sends in a header says more than the status: GatedRepo, RepoNotFound, RevisionNotFound. */
function refusalOf(what: string, { status, headers }: Response): DeployError {
  const [code, wait] = [headers.get('x-error-code'), headers.get('retry-after')];
  const seen = `HTTP ${status}${code ? ` ${code}` : ''}${wait ? `, Retry-After ${wait}` : ''}`;
  const transient = status === 408 || status === 425 || status === 429 || status >= 500;
  return transient ? sourceUnreachable({ what, seen }) : sourceRefused({ what, seen });
}

const nameOf = ({ endpoint, id, revision }: Hub) => `${endpoint}/${id} at ${revision}`;

/** undici says only "fetch failed"; why is in the cause. */
function reasonOf(error: unknown): string {
  const { message, cause } = error as { message?: unknown; cause?: { message?: unknown } };
  return String(cause?.message || message || error);
}
