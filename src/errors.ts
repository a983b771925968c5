import type { Raw } from './text/raw.ts';

/**
 * What can go wrong, in one shape. `message` says where, what was measured and what was wanted; `remedy` says what
 * the operator does next; `retryable` is decided where the error is born. `activities/failure.ts` alone turns it into
 * a Temporal failure. Codes are listed once, in `ERROR_CODES`, with the exit code the CLI gives them.
 */
export interface DeployErrorFields {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
  /** True when the same call may succeed later without anybody changing anything. */
  readonly retryable: boolean;
  /** The host it happened on, when there is one. */
  readonly host?: string;
  /** What was seen: a log's end, a tool's words. Redacted, and only then cut, where it leaves an activity. */
  readonly evidence?: Raw;
  readonly cause?: unknown;
}

export class DeployError extends Error {
  override readonly name = 'DeployError';
  readonly code: ErrorCode;
  readonly remedy: string;
  readonly retryable: boolean;
  readonly host: string | undefined;
  readonly evidence: Raw | undefined;

  constructor({ code, message, remedy, retryable, host, evidence, cause }: DeployErrorFields) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.remedy = remedy;
    this.retryable = retryable;
    this.host = host;
    this.evidence = evidence;
  }
}

/** Every error code and one sentence on when it is used. */
export const ERROR_CODES = {
  // The spec and the plan
  SPEC_INVALID: 'The spec file has errors; nothing was contacted.',
  PLAN_IMPOSSIBLE: 'The hosts cannot hold what the spec asks for.',
  CHANGE_REFUSED: 'The change is of a kind that this operation does not do.',
  NAME_CONFLICT: 'Something of this name on the host belongs to another installation.',
  SECRET_MISSING: 'A secret reference does not resolve on the Temporal worker.',
  // Reaching hosts
  NO_WORKER: 'No Temporal worker serves this site.',
  HOST_UNREACHABLE: 'The SSH connection could not be made or was lost.',
  HOST_KEY_MISMATCH: 'The host key is unknown or is not the expected one.',
  HOST_LOGIN_REFUSED: 'The host refused the login or the privilege change.',
  COMMAND_FAILED: 'A command on the host ended with an error.',
  COMMAND_TIMEOUT: 'A command on the host did not end within its limit.',
  // Judging hosts
  CHECK_FAILED: 'A host or a link does not meet what the spec asks for.',
  LEASE_HELD: 'A GPU is leased by another cluster.',
  LEASE_DIR_MISSING: 'The lease folder is missing and cannot be made.',
  PORT_TAKEN: 'A port that the plan wants is in use.',
  // Images and weights
  IMAGE_UNAVAILABLE: 'The image is not on the host and cannot be fetched.',
  IMAGE_DIFFERS: 'Hosts resolved one image reference to different images.',
  DISK_TOO_SMALL: 'The weights directory cannot hold the model.',
  SOURCE_UNREACHABLE: 'The source of the weights did not answer.',
  SOURCE_REFUSED: 'The source of the weights refused: missing, gated or forbidden.',
  WEIGHTS_CORRUPT: 'A file has another size or hash than its source says.',
  // Engines and router
  ENGINE_EXITED: 'An engine ended before it was ready.',
  ENGINE_NOT_READY: 'An engine was not ready within its limit.',
  ENGINE_WRONG: 'An engine says it is something else than the plan has.',
  ROUTER_FAILED: 'The router did not start, answer or list an engine.',
  ACCEPTANCE_FAILED: 'A request through the cluster failed or was too slow.',
  NOT_AS_PLANNED: 'What runs is not what the plan has.',
  // Operations
  OPERATION_RUNNING: 'Another operation runs on this cluster.',
  OPERATION_LATE: 'The request arrived after its notAfter and was not carried out.',
  NOTHING_RUNNING: 'No operation runs on this cluster.',
  NOT_ADMITTED: 'An operation was started past the record of its cluster.',
  OPERATION_UNKNOWN: 'The Temporal worker does not know an operation of this name.',
  CANCELLED: 'Somebody cancelled the operation.',
  TERMINATED: 'Somebody terminated the operation in Temporal.',
  FORCED: 'Somebody ended the operation by `tandem cancel --force`.',
  RESET: 'Somebody reset the operation in Temporal: what it had done is not done again.',
  BLOCKED: 'The workflow that keeps the record of a cluster cannot go on, and Temporal tries it for ever.',
  CLUSTER_UNKNOWN: 'No cluster of this name is known.',
  UNDO_FAILED: 'Something could not be undone and is left behind.',
  TEMPORAL_UNREACHABLE: 'The Temporal server did not answer.',
  TEMPORAL_REFUSED: 'The Temporal server refused this client: a wrong key or certificate, or no right.',
  NAMESPACE_UNKNOWN: 'The Temporal server has no such namespace.',
  USAGE: 'The command line is wrong.',
  UNKNOWN: 'The outcome could not be read.',
  INTERNAL: 'A fault in Tandem itself.',
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;
