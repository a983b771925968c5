import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openWeights } from '../../src/drivers/weights/stage.ts';
import type { StageRequest } from '../../src/drivers/weights/types.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { localHost, textOf, type LocalHost } from '../support/weights-host.ts';
import {
  COMMIT,
  FIRST_SHARD,
  gitSha1Of,
  serveFiles,
  serveHub,
  sha256Of,
  sumsOf,
  tinyModel,
  type Fault,
  type HubOptions,
  type Model,
  type Server,
} from '../support/weights-source.ts';
import { eventually } from '../support/processes.ts';

// Real processes, real curl, real files: the host is this machine, the sources are web servers on loopback. The Hub
// and the host it redirects to have addresses of their own, since where the token goes is one of the promises.
const [HUB_ADDRESS, CDN_ADDRESS] = ['127.85.0.1', '127.85.0.2'];
const OWNER = { cluster: 'qwen-pd', installation: 'run-1', deployment: 3 };
const JOB = 'tandem-qwen-pd-weights-0-3';
const PATH = '~/models/acme/tiny/main';
const PARTIAL = `${PATH}.partial-qwen-pd-3-run-1`;
const TOKEN = 'mirror-token-cafe';
const SOURCE = 'hf://acme/tiny@main';

const weights = openWeights();
let host: LocalHost;
let servers: Server[];
beforeEach(async () => {
  host = await localHost();
  servers = [];
});
afterEach(async () => {
  await host.close();
  await Promise.all(servers.map((server) => server.close()));
});

const at = (path: string) => path.replace('~', host.home);
const opened = async (server: Promise<Server>) => {
  servers.push(await server);
  return server;
};

async function hub(options: Partial<HubOptions> & { cdnFault?: Fault } = {}) {
  const model = options.model ?? tinyModel();
  const cdn = await opened(serveFiles(CDN_ADDRESS!, model, options.cdnFault));
  const server = await opened(serveHub(HUB_ADDRESS!, { ...options, model, cdn: cdn.url }));
  return { model, cdn, server, endpoint: server.url };
}

async function stage(request: Partial<StageRequest>, { signal = new AbortController().signal, on = host } = {}) {
  const progress: { bytes: number; totalBytes: number }[] = [];
  const full: StageRequest = { source: SOURCE, path: PATH, copy: true, owner: OWNER, ...request };
  return { ...(await weights.stage(on, full, { signal, progress: (told) => void progress.push(told) })), progress };
}

/** Everything under a folder, as path → content. */
async function tree(folder: string): Promise<Model> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(paths.map(async (path) => [path.slice(folder.length + 1), await readFile(path)] as const)),
  );
}

async function expectComplete(model: Model) {
  const found = await tree(at(PATH));
  expect(found.delete('.tandem-complete.json')).toBe(true);
  expect(sums(found)).toEqual(sums(model));
  expect(await readdir(dirname(at(PATH)))).toEqual(['main']);
}

const sums = (model: Model) => Object.fromEntries([...model].map(([path, content]) => [path, sha256Of(content)]));

async function put(folder: string, model: Model) {
  for (const [path, content] of model) {
    await mkdir(dirname(join(at(folder), path)), { recursive: true });
    await writeFile(join(at(folder), path), content);
  }
}

const changedByte = (content: Buffer) => {
  const changed = Buffer.from(content);
  changed[changed.length - 1]! ^= 1;
  return changed;
};

/** Sends half of the first shard, and the rest when it is let go. */
function stalls(model: Model, held: { now: boolean; go?: () => void }): Fault {
  return (_, response, path) => {
    const content = model.get(path)!;
    if (path !== FIRST_SHARD || !held.now) return undefined;
    response.writeHead(200, { 'content-length': content.length }).write(content.subarray(0, content.length / 2));
    held.go = () => void response.end(content.subarray(content.length / 2));
    return true;
  };
}

const sizeOf = async (path: string) => (existsSync(path) ? (await stat(path)).size : 0);

describe('weights from the Hub', () => {
  it('arrive whole, verified and marked, and leave nothing else on the host', async () => {
    const { model, endpoint } = await hub();
    const total = [...model.values()].reduce((sum, { length }) => sum + length, 0);
    const staged = await stage({ endpoint });
    expect(staged).toMatchObject({ bytes: total, files: model.size, reused: false, revision: COMMIT });
    await expectComplete(model);
    const mark = JSON.parse((await textOf(join(at(PATH), '.tandem-complete.json')))!);
    expect(mark).toMatchObject({ format: 1, source: SOURCE, revision: COMMIT });
    expect(mark.files).toContainEqual({ path: FIRST_SHARD, size: 200_000, sha256: sha256Of(model.get(FIRST_SHARD)!) });
    expect(mark.files).toContainEqual({
      path: 'config.json',
      size: 26,
      'git-sha1': gitSha1Of(model.get('config.json')!),
    });
    expect(await host.runtime('process').find({})).toEqual([]);
    expect(staged.progress.every(({ totalBytes }) => totalBytes === total)).toBe(true);
  });

  it('are fetched with a token that only the Hub is told, and that no command line shows', async () => {
    const { cdn, server, endpoint } = await hub({ token: TOKEN });
    await stage({ endpoint, token: TOKEN });
    expect(server.seen.every(({ authorization }) => authorization === `Bearer ${TOKEN}`)).toBe(true);
    expect(cdn.seen.length).toBeGreaterThan(0);
    expect(cdn.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
    expect(JSON.stringify(host.commands)).not.toContain(TOKEN);
    expect([...(await tree(host.home)).values()].filter((content) => content.includes(TOKEN))).toEqual([]);
  });

  it('are listed without telling the token to another host that a page link names', async () => {
    const page = new Map([[`api/models/acme/tiny/tree/${COMMIT}`, Buffer.from('[]')]]);
    const other = await opened(serveFiles('127.85.0.3', page));
    const { endpoint } = await hub({ token: TOKEN, nextPage: other.url });
    expect(await stage({ endpoint, token: TOKEN })).toMatchObject({ files: 3 });
    expect(other.seen).toMatchObject([{ authorization: undefined }]);
  });

  it('wait in a folder where the token is readable for its owner alone', async () => {
    const held = { now: true };
    const model = tinyModel();
    const { endpoint } = await hub({ model, token: TOKEN, cdnFault: stalls(model, held) });
    const staging = stage({ endpoint, token: TOKEN }).catch((error: unknown) => error);
    const part = join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`);
    await eventually(async () => (await sizeOf(part)) > 0);
    expect((await stat(join(at(PARTIAL), 'header'))).mode & 0o777).toBe(0o600);
    expect(await readFile(`/proc/${(await host.runtime('process').find({}))[0]!.pid}/cmdline`, 'utf8')).not.toContain(
      TOKEN,
    );
    expect(existsSync(at(PATH))).toBe(false);
    await host.kill(JOB);
    expect(await staging).toMatchObject({ code: 'COMMAND_FAILED' });
  });

  it('continue where a killed copy stopped', async () => {
    const held = { now: true };
    const model = tinyModel();
    const { cdn, server, endpoint } = await hub({ model, cdnFault: stalls(model, held) });
    const first = stage({ endpoint }).catch((error: unknown) => error);
    const part = join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`);
    const others = [...model.keys()].filter((path) => path !== FIRST_SHARD);
    await eventually(async () => (await sizeOf(part)) > 90_000); // curl writes whole pages of the 100,000 bytes.
    await eventually(() => others.every((path) => existsSync(join(at(PARTIAL), 'files', path))));
    await host.kill(JOB);
    const there = await sizeOf(part);
    expect(await first).toMatchObject({ code: 'COMMAND_FAILED', retryable: true, host: 'gpu-a' });

    held.now = false;
    const asked = [server, cdn].map(({ seen }) => seen.length);
    await stage({ endpoint });
    await expectComplete(model);
    const bytesAsked = [server, cdn]
      .flatMap(({ seen }, index) => seen.slice(asked[index]))
      .filter(({ path }) => !path.startsWith('api/'));
    expect(new Set(bytesAsked.map(({ path }) => path.split('/').at(-1)))).toEqual(new Set([FIRST_SHARD]));
    expect(cdn.seen.at(-1)!.range).toBe(`bytes=${there}-`);
    expect(host.starts).toEqual([JOB, JOB]);
  });

  it('continue by themselves when the connection breaks after bytes came', async () => {
    const model = tinyModel();
    let breaks = 2;
    const { cdn, endpoint } = await hub({
      model,
      cdnFault: (request, response, path) => {
        if (path !== FIRST_SHARD || breaks === 0) return undefined;
        breaks -= 1;
        const from = Number(/\d+/.exec(request.headers.range ?? '0')![0]);
        const total = model.get(path)!.length;
        response.writeHead(from ? 206 : 200, {
          'content-length': total - from,
          ...(from ? { 'content-range': `bytes ${from}-${total - 1}/${total}` } : {}),
        });
        response.write(model.get(path)!.subarray(from, from + 50_000), () => setImmediate(() => response.destroy()));
        return true;
      },
    });
    await stage({ endpoint });
    await expectComplete(model);
    expect(cdn.seen.filter(({ path }) => path === FIRST_SHARD).map(({ range }) => range)).toEqual([
      undefined,
      'bytes=50000-',
      'bytes=100000-',
    ]);
  });

  it('are fetched once more when a byte of the right size is wrong', async () => {
    const model = tinyModel();
    let wrong = 1;
    const { cdn, endpoint } = await hub({
      model,
      cdnFault: (_, response, path) => {
        if (path !== FIRST_SHARD || wrong === 0) return undefined;
        wrong -= 1;
        return Boolean(response.writeHead(200).end(changedByte(model.get(path)!))) as true;
      },
    });
    await stage({ endpoint });
    await expectComplete(model);
    expect(cdn.seen.filter(({ path }) => path === FIRST_SHARD)).toHaveLength(2);
  });

  it.each([
    ['a byte is wrong every time', changedByte, /its sha256 is [0-9a-f]{64}, the source says [0-9a-f]{64}, twice/],
    [
      'the source sends less than it lists',
      (content: Buffer) => content.subarray(0, 777),
      /777 bytes are there, the source says 200000, twice/,
    ],
  ])('are refused as corrupt when %s', async (_, change, seen) => {
    const model = tinyModel();
    const { endpoint } = await hub({
      model,
      cdnFault: (request, response, path) => {
        if (path !== FIRST_SHARD) return undefined;
        const content = change(model.get(path)!);
        const from = Number(/\d+/.exec(request.headers.range ?? '0')![0]);
        response.writeHead(from ? 416 : 200, { 'content-length': from ? 0 : content.length }).end(from ? '' : content);
        return true;
      },
    });
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      retryable: false,
      message: expect.stringMatching(seen),
    });
    expect(existsSync(at(PATH))).toBe(false);
    expect(existsSync(join(at(PARTIAL), 'files', FIRST_SHARD))).toBe(false);
    expect(existsSync(join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`))).toBe(false);
  });

  it.each([
    ['gated, without a token', { token: TOKEN }, {}, 'SOURCE_REFUSED', /HTTP 401 GatedRepo.*wanted/, /model\.token/],
    ['not there', {}, { source: 'hf://acme/other@main' }, 'SOURCE_REFUSED', /HTTP 404/, /spelling/],
    [
      'asked too often',
      { fault: answers(429, { 'retry-after': '55' }) },
      {},
      'SOURCE_UNREACHABLE',
      /HTTP 429, Retry-After 55/,
      /repeat/,
    ],
    ['down', { fault: answers(503) }, {}, 'SOURCE_UNREACHABLE', /HTTP 503/, /repeat/],
  ] as const)(
    'end with a remedy and no job when the model is %s',
    async (_, options, request, code, message, remedy) => {
      const { endpoint } = await hub(options);
      await expect(stage({ endpoint, ...request })).rejects.toMatchObject({
        code,
        retryable: code === 'SOURCE_UNREACHABLE',
        message: expect.stringMatching(message),
        remedy: expect.stringMatching(remedy),
      });
      expect(host.starts).toEqual([]);
    },
  );

  it.each([
    [403, 'SOURCE_REFUSED'],
    [404, 'SOURCE_REFUSED'],
    [429, 'SOURCE_UNREACHABLE'],
    [503, 'SOURCE_UNREACHABLE'],
  ])('tell HTTP %i for the bytes of a file from the rest: %s, naming the file', async (status, code) => {
    const { endpoint } = await hub({ token: TOKEN, cdnFault: answers(status, { 'X-Error-Code': 'GatedRepo' }) });
    await expect(stage({ endpoint, token: TOKEN })).rejects.toMatchObject({
      code,
      host: 'gpu-a',
      message: expect.stringMatching(`safetensors: HTTP ${status} GatedRepo`),
    });
    expect(existsSync(join(at(PARTIAL), 'manifest'))).toBe(true);
    expect(existsSync(join(at(PARTIAL), 'header'))).toBe(false); // The token does not wait for a retry on the host.
  });

  it('end as unreachable when nobody listens', async () => {
    const { endpoint, server } = await hub();
    await server.close();
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'SOURCE_UNREACHABLE',
      message: expect.stringMatching(/ECONNREFUSED/),
    });
  });

  it.each(['../../etc/passwd', '/etc/passwd', 'a/../../b', 'a\tb', 'a"b', '.tandem-complete.json'])(
    'are refused when the listing holds the path %j',
    async (path) => {
      const row = { type: 'file', path, size: 1, oid: '2'.repeat(40) };
      const { endpoint } = await hub({ rows: [row] });
      await expect(stage({ endpoint })).rejects.toMatchObject({
        code: 'SOURCE_REFUSED',
        message: expect.stringMatching(/the listed path/),
      });
      expect(host.starts).toEqual([]);
    },
  );

  it('take their revision as a commit, once for all hosts', async () => {
    const { endpoint } = await hub();
    const { signal } = new AbortController();
    expect(await weights.pin(SOURCE, { endpoint }, signal)).toBe(`hf://acme/tiny@${COMMIT}`);
    expect(await weights.pin('file:///mnt/x', {}, signal)).toBe('file:///mnt/x');
  });

  it('of another commit than the pinned one are not taken for it', async () => {
    const { endpoint } = await hub();
    await stage({ endpoint });
    const source = `hf://acme/tiny@${'f'.repeat(40)}`;
    await expect(stage({ endpoint, source })).rejects.toMatchObject({
      code: 'CHANGE_REFUSED',
      remedy: expect.stringMatching(/revision/),
    });
  });

  it('in a second format stay at the source', async () => {
    const model = new Map([
      ...tinyModel(),
      ['original/consolidated.00.pth', Buffer.from('x')],
      ['pytorch_model.bin', Buffer.from('x')],
    ]);
    const { endpoint } = await hub({ model });
    expect((await stage({ endpoint })).files).toBe(tinyModel().size);
  });
});

function answers(status: number, headers: Record<string, string> = {}): Fault {
  return (_, response) => Boolean(response.writeHead(status, headers).end()) as true;
}

describe('the copy', () => {
  it('is one job, however many attempts run at once', async () => {
    const { model, cdn, endpoint } = await hub();
    await Promise.all([stage({ endpoint }), stage({ endpoint }), stage({ endpoint })]);
    await expectComplete(model);
    expect(host.starts).toEqual([JOB]);
    expect(cdn.sent.get(FIRST_SHARD)).toBe(200_000);
  });

  it('goes on when its attempt is lost, and the next attempt finds it', async () => {
    const held: { now: boolean; go?: () => void } = { now: true };
    const model = tinyModel();
    const { cdn, endpoint } = await hub({ model, cdnFault: stalls(model, held) });
    const lost = new AbortController();
    const first = stage({ endpoint }, { signal: lost.signal }).catch((error: unknown) => error);
    await eventually(() => existsSync(join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`)));
    lost.abort();
    expect(await first).toMatchObject({ name: 'AbortError' });
    expect(await host.runtime('process').find({})).toMatchObject([{ name: JOB, running: true }]);

    const looked = host.commands.length;
    const second = stage({ endpoint });
    await eventually(() => host.commands.slice(looked).some(({ argv }) => argv[0] === 'du'));
    held.go!();
    expect(await second).toMatchObject({ files: model.size, reused: false });
    await expectComplete(model);
    expect(host.starts).toEqual([JOB]);
    expect(cdn.seen.filter(({ path }) => path === FIRST_SHARD)).toHaveLength(1);
  });

  it('that ends between two looks of the next attempt is not started again', async () => {
    const held: { now: boolean; go?: () => void } = { now: true };
    const model = tinyModel();
    const { endpoint } = await hub({ model, cdnFault: stalls(model, held) });
    const lost = new AbortController();
    const first = stage({ endpoint }, { signal: lost.signal }).catch((error: unknown) => error);
    await eventually(() => held.go !== undefined);
    lost.abort();
    await first;

    const jobs = host.runtime('process');
    const find: typeof jobs.find = async (labels) => {
      held.go!(); // The mark was looked for, and was not there.
      await eventually(async () => (await jobs.find({})).every(({ running }) => !running));
      return jobs.find(labels);
    };
    const late = Object.assign(Object.create(host) as typeof host, { runtime: () => ({ ...jobs, find }) });
    const second = await stage({ endpoint }, { on: late });
    expect(second).toMatchObject({ files: model.size, reused: false });
    await expectComplete(model);
    expect(host.starts).toEqual([JOB]);
  });

  it('is not begun on a disk that cannot hold the model, in GiB', async () => {
    const { endpoint } = await hub({
      rows: [
        { type: 'file', path: 'config.json', size: 3, oid: '2'.repeat(40) },
        lfsRow('model.safetensors', 689 * 1024 ** 3),
      ],
    });
    await host.shim(
      'df',
      'echo "Filesystem 1024-blocks Used Available Capacity Mounted on"; echo "/dev/nvme0n1 1 1 104857600 1% /"',
    );
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'DISK_TOO_SMALL',
      retryable: false,
      message: expect.stringMatching(
        /gpu-a:.*\/models\/acme\/tiny\/main has 100\.0 GiB free, the weights need 695\.9 GiB more/,
      ),
      remedy: expect.stringMatching(/model\.dir/),
    });
    expect(host.starts).toEqual([]);
  });

  it('says DISK_TOO_SMALL when the disk fills up meanwhile', async () => {
    const { endpoint } = await hub();
    await host.shim('curl', 'echo "curl: (23) Failure writing output to destination" >&2; exit 23');
    await expect(stage({ endpoint })).rejects.toMatchObject({ code: 'DISK_TOO_SMALL' });
  });

  it('names the tools that a host lacks before anything is made there', async () => {
    const bare = await localHost({ without: ['curl', 'sha256sum'] });
    try {
      const { endpoint } = await hub();
      await expect(stage({ endpoint }, { on: bare })).rejects.toMatchObject({
        code: 'CHECK_FAILED',
        message: 'gpu-a has no sha256sum, curl on PATH, which the copy of the weights needs',
      });
      expect(existsSync(join(bare.home, 'models'))).toBe(false);
    } finally {
      await bare.close();
    }
  });

  it('goes on with what a deployment that was taken over left, and ends that one', async () => {
    const held = { now: true };
    const model = tinyModel();
    const { cdn, endpoint } = await hub({ model, cdnFault: stalls(model, held) });
    const earlier = stage({ endpoint }).catch((error: unknown) => error);
    const part = join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`);
    const others = [...model.keys()].filter((path) => path !== FIRST_SHARD);
    await eventually(async () => (await sizeOf(part)) > 90_000);
    // They come side by side, and asked for late would be the last.
    await eventually(() => others.every((path) => existsSync(join(at(PARTIAL), 'files', path))));
    held.now = false;
    await stage({ endpoint, owner: { ...OWNER, deployment: 4 } });
    await earlier; // It found its job gone, or the weights complete.
    await expectComplete(model);
    expect(cdn.seen.at(-1)!.range).toMatch(/^bytes=9\d{4}-$/);
    expect(await host.runtime('process').find({})).toEqual([]);
  });

  it('begins anew when the branch moved since its last attempt', async () => {
    const held = { now: true };
    const model = tinyModel();
    const first = await hub({ model, cdnFault: stalls(model, held) });
    const attempt = stage({ endpoint: first.endpoint }).catch((error: unknown) => error);
    await eventually(() => existsSync(join(at(PARTIAL), 'files', 'model-00002-of-00002.safetensors')));
    await host.kill(JOB);
    expect(await attempt).toMatchObject({ code: 'COMMAND_FAILED' });
    await Promise.all(servers.map((server) => server.close()));
    const moved = tinyModel();
    moved.set('model-00002-of-00002.safetensors', Buffer.alloc(200_000, 'other weights of the same size'));
    const { endpoint } = await hub({ model: moved });
    await stage({ endpoint });
    await expectComplete(moved);
  });

  it('verifies a folder that is there without a mark, and marks it', async () => {
    const { model, cdn, endpoint } = await hub();
    await put(PATH, model);
    expect(await stage({ endpoint })).toMatchObject({ files: model.size });
    await expectComplete(model);
    expect(cdn.seen).toEqual([]);
  });

  it('never changes a folder that is there without a mark and differs', async () => {
    const { model, endpoint } = await hub();
    const theirs = new Map([...model, [FIRST_SHARD, changedByte(model.get(FIRST_SHARD)!)]]);
    await put(PATH, theirs);
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      remedy: expect.stringMatching(/move it away/),
    });
    await weights.drop(host, PATH, OWNER);
    expect(sums(await tree(at(PATH)))).toEqual(sums(theirs));
  });

  it('gives way to the same weights that another deployment brought meanwhile', async () => {
    const held = { now: true };
    const model = tinyModel();
    const { endpoint } = await hub({ model, cdnFault: stalls(model, held) });
    const slow = stage({ endpoint }).catch((error: unknown) => error);
    await eventually(() => existsSync(join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`)));
    held.now = false;
    await stage({ endpoint, owner: { ...OWNER, cluster: 'other' } });
    expect(existsSync(at(PARTIAL))).toBe(true);
    await host.runtime('process').stop(JOB, { timeoutSeconds: 1 });
    expect(await slow).toMatchObject({ files: model.size });
    await expectComplete(model);
  });
});

const lfsRow = (path: string, size: number) => ({
  type: 'file',
  path,
  size,
  oid: '1'.repeat(40),
  lfs: { oid: 'a'.repeat(64), size, pointerSize: 135 },
});

describe('complete weights', () => {
  it('are used again without asking their source', async () => {
    const { endpoint } = await hub();
    await stage({ endpoint });
    await Promise.all(servers.map((server) => server.close()));
    expect(await stage({ endpoint })).toMatchObject({ files: tinyModel().size, reused: true, revision: COMMIT });
    expect(host.starts).toEqual([JOB]);
  });

  it.each([
    ['cut short', (content: Buffer) => content.subarray(0, 10)],
    ['emptied', () => Buffer.alloc(0)],
  ])('that were %s since are refused, naming the file', async (_, change) => {
    const { model, endpoint } = await hub();
    await stage({ endpoint });
    await writeFile(join(at(PATH), FIRST_SHARD), change(model.get(FIRST_SHARD)!));
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      message: expect.stringMatching(FIRST_SHARD),
    });
  });

  it('whose mark cannot be read are refused', async () => {
    const { endpoint } = await hub();
    await stage({ endpoint });
    await writeFile(join(at(PATH), '.tandem-complete.json'), '{"files":[');
    await expect(stage({ endpoint })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      message: expect.stringMatching(/no JSON/),
    });
  });
});

describe('undoing a copy', () => {
  it('ends its job and leaves the host as it was, also done twice', async () => {
    const model = tinyModel();
    const { endpoint } = await hub({ model, cdnFault: stalls(model, { now: true }) });
    await mkdir(at('~/models'));
    const staging = stage({ endpoint }).catch((error: unknown) => error);
    await eventually(() => existsSync(join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`)));
    expect(await weights.drop(host, PATH, OWNER)).toEqual({});
    expect(await weights.drop(host, PATH, OWNER)).toEqual({});
    expect(await staging).toMatchObject({ code: 'COMMAND_FAILED' });
    expect(await host.runtime('process').find({})).toEqual([]);
    expect(await readdir(at('~/models'))).toEqual([]);
  });

  it('that never began does nothing', async () => {
    expect(await weights.drop(host, PATH, OWNER)).toEqual({});
    expect((await readdir(host.home)).sort()).toEqual(['bin']);
  });

  it('keeps complete weights and names them with their size', async () => {
    const { endpoint } = await hub();
    const { bytes } = await stage({ endpoint });
    expect(await weights.drop(host, PATH, OWNER)).toEqual({ kept: { path: at(PATH), bytes } });
    await expectComplete(tinyModel());
  });

  it('touches neither the job nor the files of another deployment', async () => {
    const model = tinyModel();
    const { endpoint } = await hub({ model, cdnFault: stalls(model, { now: true }) });
    const staging = stage({ endpoint }).catch((error: unknown) => error);
    await eventually(() => existsSync(join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`)));
    for (const other of [
      { ...OWNER, deployment: 4 },
      { ...OWNER, installation: 'run-2' },
      { ...OWNER, cluster: 'q' },
    ])
      await weights.drop(host, PATH, other);
    expect((await host.runtime('process').find({}))[0]).toMatchObject({ name: JOB, running: true });
    expect(existsSync(join(at(PARTIAL), 'manifest'))).toBe(true);
    await host.kill(JOB);
    await staging;
  });

  it('finishes a copy that died between its last two steps: those weights are complete', async () => {
    const { model, endpoint } = await hub();
    await stage({ endpoint });
    await mkdir(at(PARTIAL));
    await cp(join(at(PATH), '.tandem-complete.json'), join(at(PARTIAL), 'complete.json'));
    await host.must({ argv: ['rm', join(at(PATH), '.tandem-complete.json')], timeoutMs: ANSWER_MS });
    expect(await weights.drop(host, PATH, OWNER)).toMatchObject({ kept: { path: at(PATH) } });
    await expectComplete(model);
  });

  it('halts a copy and keeps what it has, but no token', async () => {
    const model = tinyModel();
    const { endpoint } = await hub({ model, token: TOKEN, cdnFault: stalls(model, { now: true }) });
    const staging = stage({ endpoint, token: TOKEN }).catch((error: unknown) => error);
    const part = join(at(PARTIAL), 'files', `${FIRST_SHARD}.tandem-part`);
    await eventually(async () => (await sizeOf(part)) > 90_000); // curl writes whole pages of the 100,000 bytes.
    await weights.halt(host, PATH, OWNER);
    expect(await staging).toMatchObject({ code: 'COMMAND_FAILED', message: expect.stringMatching(/exit code 143/) });
    expect(await sizeOf(part)).toBeGreaterThan(90_000);
    expect(existsSync(join(at(PARTIAL), 'header'))).toBe(false);
  });
});

describe('weights from a web server', () => {
  it('are proven by its SHA256SUMS', async () => {
    const model = tinyModel();
    const { url } = await opened(serveFiles(HUB_ADDRESS!, new Map([...model, ['SHA256SUMS', sumsOf(model)]])));
    expect(await stage({ source: url })).toMatchObject({ files: model.size, reused: false });
    await expectComplete(model);
  });

  it('are proven by its manifest.json', async () => {
    const model = tinyModel();
    const files = [...model].map(([path, content]) => ({
      path,
      size: content.length,
      sha256: sha256Of(content).toUpperCase(),
    }));
    const served = new Map([...model, ['manifest.json', Buffer.from(JSON.stringify({ files }))]]);
    const { url } = await opened(serveFiles(HUB_ADDRESS!, served));
    await stage({ source: url });
    await expectComplete(model);
  });

  it('may come from a server that neither says sizes nor continues', async () => {
    const model = tinyModel();
    const served = new Map([...model, ['SHA256SUMS', sumsOf(model)]]);
    const plain: Fault = (request, response, path) => {
      response.writeHead(served.has(path) ? 200 : 404, { 'transfer-encoding': 'chunked' });
      return Boolean(response.end(request.method === 'HEAD' ? undefined : served.get(path))) as true;
    };
    const { url } = await opened(serveFiles(HUB_ADDRESS!, served, plain));
    await stage({ source: url });
    await expectComplete(model);
  });

  it('are not taken without either', async () => {
    const { url } = await opened(serveFiles(HUB_ADDRESS!, tinyModel()));
    await expect(stage({ source: url })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      remedy: expect.stringMatching(/sha256sum/),
    });
  });

  it.each([
    ['a sum is no sum', 'xyz  config.json\n', /row that is no/],
    ['a path leaves its folder', `${'a'.repeat(64)}  ../config.json\n`, /"\.\.\/config\.json"/],
    [
      'a file is listed that is not there',
      `${'a'.repeat(64)}  config.json\n${'a'.repeat(64)}  gone.safetensors\n`,
      /gone\.safetensors: HTTP 404/,
    ],
    ['no weights are listed', `${'a'.repeat(64)}  config.json\n`, /no file of weights/],
  ])('are refused when %s', async (_, sums, message) => {
    const { url } = await opened(
      serveFiles(HUB_ADDRESS!, new Map([...tinyModel(), ['SHA256SUMS', Buffer.from(sums)]])),
    );
    await expect(stage({ source: url })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(message),
    });
    expect(host.starts).toEqual([]);
  });

  it('are asked for with the token, which a redirect to another host does not get', async () => {
    const model = tinyModel();
    const served = new Map([...model, ['SHA256SUMS', sumsOf(model)]]);
    const other = await opened(serveFiles(CDN_ADDRESS!, served));
    const redirect: Fault = (request, response, path) => {
      if (request.headers.authorization !== `Bearer ${TOKEN}`) return Boolean(response.writeHead(401).end()) as true;
      return Boolean(response.writeHead(307, { location: other.url + encodeURIComponent(path) }).end()) as true;
    };
    const { url } = await opened(serveFiles(HUB_ADDRESS!, served, redirect));
    await stage({ source: url, token: TOKEN });
    await expectComplete(model);
    expect(other.seen.length).toBeGreaterThan(model.size);
    expect(other.seen.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });

  it('over plain http are taken from loopback alone', async () => {
    await expect(stage({ source: 'http://10.0.0.1/model/' })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(/not https/),
    });
    expect(host.commands).toEqual([]);
  });
});

describe('weights from a folder of the host', () => {
  it('are copied and compared with it', async () => {
    const model = tinyModel();
    await put('~/share/tiny', model);
    expect(await stage({ source: 'file://~/share/tiny' })).toMatchObject({ files: model.size, reused: false });
    await expectComplete(model);
  });

  it('are held against its SHA256SUMS where it has them', async () => {
    const model = tinyModel();
    await put(
      '~/share/tiny',
      new Map([...model, ['SHA256SUMS', sumsOf(model)], [FIRST_SHARD, changedByte(model.get(FIRST_SHARD)!)]]),
    );
    await expect(stage({ source: 'file://~/share/tiny' })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      message: expect.stringMatching(FIRST_SHARD),
    });
  });

  it('that a copy garbled are copied again, then refused', async () => {
    await put('~/share/tiny', tinyModel());
    await host.shim(
      'cp',
      'for last in "$@"; do :; done; /bin/cp "$@" && case $last in *00001-of*) printf X | dd of="$last" conv=notrunc status=none; echo once >> ~/garbled ;; esac',
    );
    await expect(stage({ source: 'file://~/share/tiny' })).rejects.toMatchObject({ code: 'WEIGHTS_CORRUPT' });
    expect(await textOf(join(host.home, 'garbled'))).toBe('once\nonce\n');
  });

  it('that cannot be read while they are copied fail with what cp said, to be tried again', async () => {
    await put('~/share/tiny', tinyModel());
    await host.shim('cp', 'echo "cp: Stale file handle" >&2; exit 1');
    await expect(stage({ source: 'file://~/share/tiny' })).rejects.toMatchObject({
      code: 'COMMAND_FAILED',
      retryable: true,
      evidence: expect.stringMatching(/Stale file handle/),
    });
  });

  it('that is not there are refused', async () => {
    await expect(stage({ source: 'file://~/share/none' })).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      message: expect.stringMatching(/no such folder/),
    });
  });

  const inPlace = { source: 'file://~/share/tiny', path: '~/share/tiny', copy: false };
  it('are used in place when they are complete, and nothing is written', async () => {
    await put('~/share/tiny', tinyModel());
    expect(await stage(inPlace)).toMatchObject({ files: tinyModel().size, reused: true });
    expect(sums(await tree(at('~/share/tiny')))).toEqual(sums(tinyModel()));
  });

  it.each([
    [
      'a shard of the index is missing',
      (model: Model) => model.delete(FIRST_SHARD),
      /1 of 2 shards .* are missing: model-00001/,
    ],
    [
      'a shard is empty',
      (model: Model) => model.set(FIRST_SHARD, Buffer.alloc(0)),
      /model-00001-of-00002\.safetensors is empty/,
    ],
    [
      'the shards are smaller than their tensors',
      (model: Model) =>
        model.set(FIRST_SHARD, Buffer.from('x')).set('model-00002-of-00002.safetensors', Buffer.from('y')),
      /a shard is cut short/,
    ],
    ['config.json is missing', (model: Model) => model.delete('config.json'), /config\.json is missing/],
    [
      'the index is no JSON',
      (model: Model) => model.set('model.safetensors.index.json', Buffer.from('<html>')),
      /no JSON/,
    ],
    ['the folder is empty', (model: Model) => model.clear(), /no such folder/],
  ])('are refused in place when %s', async (_, change, message) => {
    const model = tinyModel();
    change(model);
    await put('~/share/tiny', model);
    await expect(stage(inPlace)).rejects.toMatchObject({
      code: 'SOURCE_REFUSED',
      host: 'gpu-a',
      message: expect.stringMatching(message),
    });
  });
});

// A real rsync daemon on loopback; skipped, and counted as such, where rsync is not installed.
const rsync = spawnSync('rsync', ['--version']).status === 0 ? describe : describe.skip;
rsync('weights from an rsync daemon', () => {
  let daemon: ChildProcess;
  let base: string;
  beforeEach(async () => {
    await mkdir(at('~/served'));
    const config = `use chroot = no\nnumeric ids = yes\n[models]\npath = ${at('~/served')}\nread only = yes\n`;
    await writeFile(at('~/rsyncd.conf'), config);
    const port = await freePort();
    const args = [
      '--daemon',
      '--no-detach',
      `--address=${HUB_ADDRESS}`,
      `--port=${port}`,
      `--config=${at('~/rsyncd.conf')}`,
    ];
    daemon = spawn('rsync', args, { stdio: 'ignore' });
    base = `rsync://${HUB_ADDRESS}:${port}/models/`;
    await eventually(() => spawnSync('rsync', [base]).status === 0);
  });
  afterEach(async () => {
    daemon.kill();
    await once(daemon, 'exit');
  });

  it('are compared with it as a whole where it has no sums', async () => {
    const model = tinyModel();
    await put('~/served', model);
    expect(await stage({ source: base })).toMatchObject({ files: model.size });
    await expectComplete(model);
  });

  it('are held against its SHA256SUMS where it has them', async () => {
    const model = tinyModel();
    await put('~/served', new Map([...model, ['SHA256SUMS', sumsOf(model)]]));
    await stage({ source: base });
    await expectComplete(model);
  });

  it('that differ from its SHA256SUMS are refused', async () => {
    const model = tinyModel();
    await put(
      '~/served',
      new Map([...model, ['SHA256SUMS', sumsOf(model)], [FIRST_SHARD, changedByte(model.get(FIRST_SHARD)!)]]),
    );
    await expect(stage({ source: base })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      message: expect.stringMatching(FIRST_SHARD),
    });
  });

  it('that a disk garbled after the transfer are seen by the comparison', async () => {
    await put('~/served', tinyModel());
    const garble =
      'for last in "$@"; do :; done; /usr/bin/rsync "$@" || exit; case "$*" in *--inplace*00001-of*) printf X | dd of="$last" conv=notrunc status=none ;; esac';
    await host.shim('rsync', garble);
    await expect(stage({ source: base })).rejects.toMatchObject({
      code: 'WEIGHTS_CORRUPT',
      message: expect.stringMatching(/differs from the source, twice/),
    });
  });

  it('of an unknown module are refused, and of a dead daemon unreachable', async () => {
    await expect(stage({ source: base.replace('models', 'others') })).rejects.toMatchObject({ code: 'SOURCE_REFUSED' });
    const dead = base.replace(/:\d+/, `:${await freePort()}`);
    await expect(stage({ source: dead })).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE', retryable: true });
  });
});

async function freePort(): Promise<number> {
  const { url, close } = await serveFiles(HUB_ADDRESS!, new Map());
  await close();
  return Number(new URL(url).port);
}
