import { DeployError } from '../../errors.ts';
import type { Raw } from '../../text/raw.ts';

const GIB = 1024 ** 3;
/** Bytes in GiB, to one decimal; below a tenth to three digits, so that no need ever reads as "0 GiB". */
const gib = (bytes: number) => (bytes >= GIB / 10 ? (bytes / GIB).toFixed(1) : Number((bytes / GIB).toPrecision(3)));

/** Waiting frees no space, so it is never retried. */
export const diskTooSmall = (at: { host: string; path: string; needBytes: number; freeBytes: number }) =>
  new DeployError({
    code: 'DISK_TOO_SMALL',
    message: `${at.host}:${at.path} has ${gib(at.freeBytes)} GiB free, the weights need ${gib(at.needBytes)} GiB more`,
    remedy: `Free space on ${at.host}, or point model.dir at a larger volume.`,
    retryable: false,
    host: at.host,
  });

interface SourceProblem {
  readonly host?: string;
  /** What was asked: a URL without secrets, or a file of the source. */
  readonly what: string;
  /** "HTTP 403 GatedRepo" */
  readonly seen: string;
  readonly cause?: unknown;
}

/** It may answer later: no connection, too many requests, a fault of the server, a stalled transfer. */
export const sourceUnreachable = ({ host, what, seen, cause }: SourceProblem) =>
  new DeployError({
    code: 'SOURCE_UNREACHABLE',
    message: `${at(host)}${what}: ${seen}, an answer was wanted`,
    remedy: `Check that ${host ?? 'the Temporal worker'} reaches the source (network, proxy, model.endpoint), then repeat.`,
    retryable: true,
    ...(host === undefined ? {} : { host }),
    cause,
  });

/** It answered, and the answer is no: missing, gated, forbidden, not allowed here. */
export const sourceRefused = ({ host, what, seen, cause, remedy }: SourceProblem & { readonly remedy?: string }) =>
  new DeployError({
    code: 'SOURCE_REFUSED',
    message: `${at(host)}${what}: ${seen}, the files were wanted`,
    remedy: remedy ?? refusalRemedy(seen),
    retryable: false,
    ...(host === undefined ? {} : { host }),
    cause,
  });

function refusalRemedy(seen: string): string {
  if (/\b40[13]\b|gated/i.test(seen))
    return 'Set model.token to a token that may read the model; for a gated model, accept its terms on its page with the account of that token first.';
  if (/\b404\b/.test(seen))
    return 'Check the spelling and the revision in model.source; a private model looks missing without model.token.';
  return 'Check model.source.';
}

/** A wrong byte stays wrong: it was fetched twice already, so it is not retried. */
export const weightsCorrupt = (at: { host: string; file: string; seen: string; remedy: string }) =>
  new DeployError({
    code: 'WEIGHTS_CORRUPT',
    message: `${at.host}:${at.file}: ${at.seen}`,
    remedy: at.remedy,
    retryable: false,
    host: at.host,
  });

/** The branch moved since; engines may serve from that folder, so it is never changed under them. */
export const otherCommit = (at: { host: string; path: string; found: string; wanted: string }) =>
  new DeployError({
    code: 'CHANGE_REFUSED',
    message: `${at.host}:${at.path} holds commit ${at.found}, ${at.wanted} is wanted`,
    remedy: 'Name the commit as the revision in model.source: it then has a folder of its own.',
    retryable: false,
    host: at.host,
  });

/** The copy needs little of a host, but it needs that. */
export const toolsMissing = (at: { host: string; tools: readonly string[] }) =>
  new DeployError({
    code: 'CHECK_FAILED',
    message: `${at.host} has no ${at.tools.join(', ')} on PATH, which the copy of the weights needs`,
    remedy: `Install ${at.tools.join(', ')} on ${at.host}.`,
    retryable: false,
    host: at.host,
  });

/** It ended without saying why: killed, rebooted, out of memory. What it brought is kept, so a repeat goes on. */
export const copyEnded = (at: { host: string; job: string; seen: string; evidence: Raw; cause?: unknown }) =>
  new DeployError({
    code: 'COMMAND_FAILED',
    message: `${at.host}: the copy of the weights (job ${at.job}) ${at.seen}`,
    remedy: `Look at the evidence and at dmesg on ${at.host}; a repeat continues where the copy stopped.`,
    retryable: true,
    host: at.host,
    evidence: at.evidence,
    cause: at.cause,
  });

const at = (host: string | undefined) => (host === undefined ? '' : `${host}: `);
