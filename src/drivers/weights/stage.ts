import { setTimeout as sleep } from 'node:timers/promises';
import type { Host, UnitState } from '../types.ts';
import { LABELS } from '../types.ts';
import {
  copyEnded,
  diskTooSmall,
  otherCommit,
  sourceRefused,
  sourceUnreachable,
  toolsMissing,
  weightsCorrupt,
} from './errors.ts';
import { bytesOf, MARK, parseManifest } from './files.ts';
import { hubCommit } from './hub.ts';
import { folderFiles, list, wantingIn, type Listing } from './listing.ts';
import { COPY_PROGRAM, DROP_PROGRAM, PARTIAL_PROGRAM, PREPARE_PROGRAM } from './program.ts';
import { parseSource, withRevision, type Source } from './source.ts';
import type { AnyCopyOwner, CopyOwner, Staged, StageOptions, StageRequest, WeightFile, Weights } from './types.ts';
import { raw } from '../../text/raw.ts';

/**
 * Weights as hosts hold them: `path` is complete and verified when it holds the mark, which is written last. Until
 * then all is in `<path>.partial-<cluster>-<deployment>-<installation>/`, which belongs to one deployment alone. The
 * copy is one named job per host and deployment, so a retry of the activity, or a second attempt beside a first that
 * was thought lost, finds it and waits with it.
 */
export function openWeights(): Weights {
  return {
    stage,
    async halt(host, toPath, owner) {
      const job = await findJob(host, owner);
      if (job) await host.runtime('process').stop(job.name, { timeoutSeconds: STOP_TIMEOUT_SECONDS });
      await removeHeader(host, workOf(await host.expand(toPath), owner));
    },
    async drop(host, toPath, owner) {
      const path = await host.expand(toPath);
      await cleanUp(host, path, owner);
      const mark = await readMark(host, path);
      return mark ? { kept: { path, bytes: bytesOf(mark.files) } } : {};
    },
    async pin(text, { token, endpoint }, signal) {
      const source = parseSource(text, endpoint);
      if (source.kind !== 'hub') return text;
      return withRevision(text, await hubCommit(source, { signal, ...(token === undefined ? {} : { token }) }));
    },
  };
}

/** Limit of the short commands here, in milliseconds; a busy disk may take its time over `rm`. */
const COMMAND_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_SECONDS = 10;
/** A copy is looked at often when it is young, since small ones end soon, then every few seconds. */
const LOOK_AFTER_MS = { first: 50, longest: 5_000 };

type Installation = Pick<CopyOwner, 'cluster' | 'installation'>;

const jobName = ({ cluster, deployment }: CopyOwner) => `tandem-${cluster}-weights-0-${deployment}`;
/** Not tandem.cluster: who looks for what a cluster runs finds engines and routers by that. */
const installationLabels = ({ cluster, installation }: Installation) => ({
  [LABELS.kind]: 'weights',
  'tandem.weights': cluster,
  [LABELS.installation]: installation,
});
const jobLabels = (owner: CopyOwner) => ({
  ...installationLabels(owner),
  [LABELS.deployment]: String(owner.deployment),
});
const workBegin = (path: string, { cluster }: Installation) => `${path}.partial-${cluster}-`;
const workEnd = ({ installation }: Installation) => `-${installation}`;
const workOf = (path: string, owner: CopyOwner) => `${workBegin(path, owner)}${owner.deployment}${workEnd(owner)}`;

async function stage(host: Host, request: StageRequest, options: StageOptions): Promise<Staged> {
  const source = parseSource(request.source, request.endpoint);
  const path = await host.expand(request.path);
  if (!request.copy) return usedInPlace(host, path);
  const present = await complete(host, path, source);
  if (!present) return copied(host, path, source, request, options);
  await cleanUp(host, path, request.owner);
  return present;
}

async function usedInPlace(host: Host, path: string): Promise<Staged> {
  const files = await folderFiles(host, path);
  const lacks = files ? await wantingIn(host, path, files) : 'no such folder';
  if (lacks !== undefined || !files)
    throw sourceRefused({
      host: host.ref.name,
      what: path,
      seen: lacks ?? '',
      remedy: `Check that the shared mount is there on ${host.ref.name} and that model.source names its folder.`,
    });
  return { bytes: bytesOf(files), files: files.length, reused: true };
}

// ---- What is there already

/** Complete weights at `path`, held against their mark by size; undefined where there is no mark. */
async function complete(host: Host, path: string, source: Source): Promise<Staged | undefined> {
  const mark = await readMark(host, path);
  if (!mark) return undefined;
  const remedy = `No engine may use ${path} on ${host.ref.name}; then remove it there (rm -r) and repeat.`;
  const found = (await folderFiles(host, path)) ?? [];
  const sizes = new Map(found.map((file) => [file.path, file.size]));
  const changed = mark.files.find((file) => sizes.get(file.path) !== file.size);
  if (changed) {
    const seen = `${sizes.get(changed.path) ?? 'no'} bytes are there, ${changed.size} were verified when it was staged`;
    throw weightsCorrupt({ host: host.ref.name, file: `${path}/${changed.path}`, seen, remedy });
  }
  const lacks = await wantingIn(host, path, found);
  if (lacks) throw weightsCorrupt({ host: host.ref.name, file: path, seen: lacks, remedy });
  if (source.kind === 'hub' && /^[0-9a-f]{40}$/.test(source.revision) && mark.revision !== source.revision) {
    throw otherCommit({ host: host.ref.name, path, found: mark.revision ?? 'unknown', wanted: source.revision });
  }
  return withRevisionOf(mark, { bytes: bytesOf(mark.files), files: mark.files.length, reused: true });
}

interface Mark {
  readonly files: readonly WeightFile[];
  readonly revision?: string;
}

async function readMark(host: Host, path: string): Promise<Mark | undefined> {
  const file = `${path}/${MARK}`;
  const { stdout, exitCode } = await host.run({ argv: ['cat', '--', file], timeoutMs: COMMAND_TIMEOUT_MS });
  if (exitCode !== 0) return undefined;
  try {
    const files = parseManifest(MARK, stdout);
    const { revision } = JSON.parse(stdout) as { revision?: unknown };
    return { files, ...(typeof revision === 'string' ? { revision } : {}) };
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    const remedy = `Remove ${file} on ${host.ref.name} and repeat: the weights beside it are then verified again.`;
    throw weightsCorrupt({ host: host.ref.name, file, seen: cause.message, remedy });
  }
}

const withRevisionOf = ({ revision }: { readonly revision?: string }, staged: Staged): Staged =>
  revision === undefined ? staged : { ...staged, revision };

// ---- The copy

async function copied(
  host: Host,
  path: string,
  source: Source,
  request: StageRequest,
  options: StageOptions,
): Promise<Staged> {
  const { owner } = request;
  const work = workOf(path, owner);
  const jobs = await host.runtime('process').find(installationLabels(owner));
  const found = jobs.find(({ name }) => name === jobName(owner));
  // Another attempt's copy may have ended since its mark was looked for.
  let staged = found && !found.running ? await complete(host, path, source) : undefined;
  if (!staged) {
    if (!found?.running) await startCopy(host, path, source, request, { ...options, jobs });
    const job = await ended(host, work, owner, options);
    staged = await complete(host, path, source);
    if (!staged) throw await failureOf(host, { path, work, job, owner });
  }
  await host.runtime('process').remove(jobName(owner));
  await dropWork(host, work, path);
  return { ...staged, reused: false };
}

async function startCopy(
  host: Host,
  path: string,
  source: Source,
  request: StageRequest,
  { signal, jobs }: StageOptions & { readonly jobs: readonly UnitState[] },
): Promise<void> {
  const work = workOf(path, request.owner);
  await endEarlier(host, request.owner, jobs);
  const { manifest, ...space } = await prepare(host, path, request.owner, toolsFor(source));
  try {
    const header = request.token === undefined ? '' : `Authorization: Bearer ${request.token}\n`;
    if (source.kind === 'hub' || source.kind === 'web') await host.writeFile(`${work}/header`, header, { mode: 0o600 });
    const token = request.token === undefined ? {} : { token: request.token };
    const listing = await list(host, source, { ...token, work, signal });
    assertSpace(host, path, listing, space);
    await writeManifest(host, work, listing, manifest);
    await host.writeFile(`${work}/about`, aboutMark(request.source, listing));
    await host.writeFile(`${work}/program.sh`, COPY_PROGRAM);
    await launch(host, request.owner, ['sh', `${work}/program.sh`, work, path, listing.mover, listing.protocols]);
  } catch (error) {
    // Where no copy runs, nothing needs the token. A job that runs all the same says so by failing, and is repeated.
    await removeHeader(host, work).catch(() => undefined);
    throw error;
  }
}

/**
 * A cluster runs one operation at a time, so a copy of an earlier deployment is left over from one that was taken over
 * or lost. It ends, and what it brought is gone on with.
 */
async function endEarlier(host: Host, owner: CopyOwner, jobs: readonly UnitState[]): Promise<void> {
  for (const { name, labels } of jobs)
    if (Number(labels[LABELS.deployment]) < owner.deployment) await endJob(host, name);
}

async function endJob(host: Host, name: string): Promise<void> {
  await host.runtime('process').stop(name, { timeoutSeconds: STOP_TIMEOUT_SECONDS });
  await host.runtime('process').remove(name);
}

/**
 * Files that an earlier attempt verified are not looked at again, which holds only as long as the source lists the
 * same: a branch that moved meanwhile begins anew.
 */
async function writeManifest(host: Host, work: string, listing: Listing, earlier: string): Promise<void> {
  const manifest = listing.files.map((file) => manifestRow(file, listing)).join('');
  if (earlier !== '' && contentOf(earlier) !== contentOf(manifest))
    await host.must({ argv: ['rm', '-rf', '--', `${work}/files`], timeoutMs: COMMAND_TIMEOUT_MS });
  await host.writeFile(`${work}/manifest`, manifest);
}

/** A manifest without the locations: a mirror may serve the same files. */
const contentOf = (manifest: string) =>
  manifest
    .split('\n')
    .map((row) => row.split('\t').toSpliced(3, 1).join('\t'))
    .join('\n');

const removeHeader = (host: Host, work: string) =>
  host.run({ argv: ['rm', '-f', '--', `${work}/header`], timeoutMs: COMMAND_TIMEOUT_MS });

/** An ended job is started again under its name, never replaced: so two attempts at once can only meet in one. */
async function launch(host: Host, owner: CopyOwner, argv: readonly string[]): Promise<void> {
  const unit = {
    name: jobName(owner),
    labels: jobLabels(owner),
    argv,
    env: {},
    stopTimeoutSeconds: STOP_TIMEOUT_SECONDS,
  };
  const { running } = await host.runtime('process').start(unit);
  if (!running) await host.runtime('process').restart(unit.name);
}

/** Programs that a copy from this source needs on the host. */
function toolsFor(source: Source): readonly string[] {
  const mover = { hub: ['curl'], web: ['curl'], rsync: ['rsync'], file: [] }[source.kind];
  // prettier-ignore
  const common = ['cat', 'cp', 'cut', 'df', 'dirname', 'du', 'find', 'ls', 'mkdir', 'mv', 'paste', 'rm', 'rmdir', 'sha1sum', 'sha256sum', 'sort', 'sync', 'tail', 'tr', 'wc'];
  return [...common, ...mover];
}

interface Space {
  readonly freeBytes: number;
  /** Bytes that an earlier attempt left; they need not come again. */
  readonly thereBytes: number;
}

/** Makes the work folder. `manifest` is that of an earlier attempt, or empty. Errors: COMMAND_FAILED, naming tools that are not there. */
async function prepare(
  host: Host,
  path: string,
  owner: CopyOwner,
  tools: readonly string[] = [],
): Promise<Space & { readonly manifest: string }> {
  const work = workOf(path, owner);
  const argv = ['sh', '-c', PREPARE_PROGRAM, 'sh', work, workBegin(path, owner), workEnd(owner), ...tools];
  // No row of a manifest is one word.
  const [printed = '', manifest = ''] = (await host.must({ argv, timeoutMs: COMMAND_TIMEOUT_MS })).split(
    '\nmanifest\n',
  );
  const lacks = [...printed.matchAll(/^lacks (.+)$/gm)].map(([, tool]) => tool!);
  if (lacks.length > 0) throw toolsMissing({ host: host.ref.name, tools: lacks });
  const free = /^free (\d+)$/m.exec(printed)?.[1];
  if (free === undefined) {
    const seen = 'could not be started: df said nothing that can be read';
    throw copyEnded({ host: host.ref.name, job: work, seen, evidence: raw(printed) });
  }
  return { freeBytes: Number(free), thereBytes: Number(/^there (\d+)$/m.exec(printed)?.[1] ?? 0), manifest };
}

/** Folders and journals take some, and a disk at 100 % serves nobody. */
const SPARE_PART = 0.01;

function assertSpace(host: Host, path: string, { files }: Listing, { freeBytes, thereBytes }: Space): void {
  const total = bytesOf(files);
  const needBytes = Math.max(0, total - thereBytes) + Math.ceil(total * SPARE_PART);
  if (needBytes > freeBytes) throw diskTooSmall({ host: host.ref.name, path, needBytes, freeBytes });
}

const manifestRow = ({ path, size, hash }: WeightFile, { locate }: Listing) =>
  `${[size ?? '-', hash?.algorithm ?? '-', hash?.value ?? '-', locate(path), path].join('\t')}\n`;

/** Members of the mark without their braces; the program adds "files". */
const aboutMark = (source: string, { revision }: Listing) =>
  JSON.stringify({ format: 1, source, ...(revision === undefined ? {} : { revision }) }).slice(1, -1);

/** Waits until the job has ended; tells how far it is meanwhile. Undefined when nobody knows of it any more. */
async function ended(
  host: Host,
  work: string,
  owner: CopyOwner,
  { signal, progress }: StageOptions,
): Promise<UnitState | undefined> {
  let totalBytes: number | undefined;
  for (let pauseMs = LOOK_AFTER_MS.first; ; pauseMs = Math.min(pauseMs * 2, LOOK_AFTER_MS.longest)) {
    const job = await findJob(host, owner);
    if (!job?.running) return job;
    const { stdout } = await host.run({
      argv: ['du', '-s', '-b', '--', `${work}/files`],
      timeoutMs: COMMAND_TIMEOUT_MS,
    });
    totalBytes ??= await totalOf(host, work);
    progress({ host: host.ref.name, bytes: Number.parseInt(stdout, 10) || 0, totalBytes });
    await sleep(pauseMs, undefined, { signal });
  }
}

async function totalOf(host: Host, work: string): Promise<number> {
  const { stdout } = await host.run({
    argv: ['cut', '-f', '1', '--', `${work}/manifest`],
    timeoutMs: COMMAND_TIMEOUT_MS,
  });
  return stdout.split('\n').reduce((sum, size) => sum + (Number(size) || 0), 0);
}

async function findJob(host: Host, owner: CopyOwner): Promise<UnitState | undefined> {
  return (await host.runtime('process').find(jobLabels(owner)))[0];
}

interface Ended {
  readonly path: string;
  readonly work: string;
  readonly job: UnitState | undefined;
  readonly owner: CopyOwner;
}

/** The row that the program left when it gave up, as an error; without a row it was ended from outside. */
async function failureOf(host: Host, { path, work, job, owner }: Ended): Promise<Error> {
  const name = host.ref.name;
  const { stdout } = await host.run({ argv: ['cat', '--', `${work}/failure`], timeoutMs: COMMAND_TIMEOUT_MS });
  const [kind, file = '', detail = ''] = stdout.trimEnd().split('\t');
  const problem = { host: name, what: file, seen: detail };
  switch (kind) {
    case 'unreachable':
      return sourceUnreachable(problem);
    case 'refused':
      return sourceRefused(problem);
    case 'corrupt': {
      const remedy = 'It came wrong twice. Check the source, a proxy in between, and the memory and disk of the host.';
      return weightsCorrupt({ host: name, file: `${path}/${file}`, seen: detail, remedy });
    }
    case 'differs': {
      const remedy = `${path} was there before, without a completion mark, and is not touched: move it away and repeat.`;
      return weightsCorrupt({ host: name, file: `${path}/${file}`, seen: detail, remedy });
    }
    case 'disk': {
      const { freeBytes, thereBytes } = await prepare(host, path, owner);
      return diskTooSmall({
        host: name,
        path,
        freeBytes,
        needBytes: Math.max(0, (await totalOf(host, work)) - thereBytes),
      });
    }
    default: {
      const seen = job ? `ended with exit code ${job.exitCode ?? 'unknown'}` : 'is gone';
      const said = kind
        ? `${file}: ${detail}`
        : job
          ? await host.runtime('process').logs(jobName(owner), { tailLines: 20 })
          : '';
      return copyEnded({ host: name, job: jobName(owner), seen, evidence: raw(said) });
    }
  }
}

/** Ends the jobs of this deployment, or of all, and removes what they worked in. Done twice is fine. */
async function cleanUp(host: Host, path: string, owner: AnyCopyOwner): Promise<void> {
  const { deployment } = owner;
  const one = deployment === undefined ? undefined : { ...owner, deployment };
  const labels = one ? jobLabels(one) : installationLabels(owner);
  for (const { name } of await host.runtime('process').find(labels)) await endJob(host, name);
  for (const work of one ? [workOf(path, one)] : await partials(host, path, owner)) await dropWork(host, work, path);
}

async function dropWork(host: Host, work: string, path: string): Promise<void> {
  await host.must({ argv: ['sh', '-c', DROP_PROGRAM, 'sh', work, path], timeoutMs: COMMAND_TIMEOUT_MS });
}

async function partials(host: Host, path: string, owner: Installation): Promise<string[]> {
  const argv = ['sh', '-c', PARTIAL_PROGRAM, 'sh', workBegin(path, owner), workEnd(owner)];
  return (await host.must({ argv, timeoutMs: COMMAND_TIMEOUT_MS })).split('\n').filter((line) => line !== '');
}
