import { NamespaceNotFoundError } from '@temporalio/common';
import { DeployError } from './errors.ts';

/** Where a call went, for its errors. */
export interface Asked {
  /** The address and where it came from. */
  readonly origin: string;
  readonly namespace: string;
  readonly connectionOptions: { readonly tls?: unknown };
}

/** Status codes of gRPC. */
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/**
 * What went wrong between here and Temporal, by its name; what is no failure of that way is returned as it is. Errors:
 * TEMPORAL_UNREACHABLE, TEMPORAL_REFUSED, NAMESPACE_UNKNOWN, NO_WORKER.
 */
export function temporalFailure(error: unknown, asked: Asked): unknown {
  if (error instanceof DeployError) return error;
  const code = grpcCodeOf(error);
  const text = textOf(error);
  if (isOf(error, NamespaceNotFoundError) || (code === NOT_FOUND && /namespace/i.test(text)))
    return namespaceUnknown(asked, error);
  if (code === UNAUTHENTICATED || code === PERMISSION_DENIED) return refused(asked, text, error);
  if (isNoPoller(error)) return noWorker('workflows', error);
  if (isAway(error)) return temporalUnreachable(asked, error);
  return error;
}

/** The code of a failed call, wherever in its causes it stands. */
export function grpcCodeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined;
  if ('code' in error && typeof error.code === 'number') return error.code;
  return error instanceof Error ? grpcCodeOf(error.cause) : undefined;
}

/** A server that sees the end of the time limit before its client does cancels the call. */
export const isDeadline = (error: unknown): boolean => {
  if (error instanceof Error && error.name === 'WorkflowUpdateRPCTimeoutOrCancelledError') return true;
  const code = grpcCodeOf(error);
  return code === DEADLINE_EXCEEDED || code === CANCELLED;
};

/** The server does not answer now. */
export const isAway = (error: unknown): boolean => isDeadline(error) || grpcCodeOf(error) === UNAVAILABLE;

/** A question to a workflow that no Temporal worker takes, as the server itself knows. */
export const isNoPoller = (error: unknown): boolean =>
  grpcCodeOf(error) === FAILED_PRECONDITION && /no poller|worker may be down/i.test(textOf(error));

/** A question to a workflow whose first task has not run yet. */
export const isNotYet = (error: unknown): boolean => grpcCodeOf(error) === FAILED_PRECONDITION && !isNoPoller(error);

/** The failure of every verb that finds no server. */
function temporalUnreachable({ origin, connectionOptions: { tls } }: Asked, cause: unknown): DeployError {
  const why = lastError(textOf(cause));
  const mends =
    'Mend TEMPORAL_TLS, TEMPORAL_TLS_SERVER_CA_CERT_PATH, TEMPORAL_TLS_CLIENT_CERT_PATH and …_KEY_PATH, or the profile in temporal.toml: client and server disagree on encryption.';
  const disagree = /certificate|TLS|SSL|handshake|wrong version number|EPROTO|ECONNRESET|self.signed/i.test(why);
  return new DeployError({
    code: 'TEMPORAL_UNREACHABLE',
    message: `the Temporal server at ${origin} does not answer${why ? `: ${why}` : ''}`,
    // A server that refuses a client's certificate may close the connection without a word.
    remedy: disagree
      ? mends
      : tls
        ? `Start the server, or set TEMPORAL_ADDRESS to it. Where it runs: ${mends}`
        : 'Start the local stack with `tandem local up`, or set TEMPORAL_ADDRESS to your server.',
    retryable: true,
    cause,
  });
}

const namespaceUnknown = ({ origin, namespace }: Asked, cause: unknown) =>
  new DeployError({
    code: 'NAMESPACE_UNKNOWN',
    message: `the Temporal server at ${origin} has no namespace ${namespace}`,
    remedy: `Set TEMPORAL_NAMESPACE, or make it: \`temporal operator namespace create --namespace ${namespace} --retention 90d\`.`,
    retryable: false,
    cause,
  });

const refused = ({ origin, namespace }: Asked, text: string, cause: unknown) =>
  new DeployError({
    code: 'TEMPORAL_REFUSED',
    message: `the Temporal server at ${origin} refuses this client in namespace ${namespace}: ${lastError(text)}`,
    remedy:
      'Give a key or a certificate with the right to this namespace: TEMPORAL_API_KEY, or TEMPORAL_TLS_CLIENT_CERT_PATH and …_KEY_PATH.',
    retryable: false,
    cause,
  });

/** Nobody takes what was asked: workflows, or what reaches the hosts of a site. */
export const noWorker = (what: 'workflows' | 'hosts', cause?: unknown): DeployError =>
  new DeployError({
    code: 'NO_WORKER',
    message: `no Temporal worker ${what === 'hosts' ? 'of the site took the task' : 'took the request'}; nothing was done and nothing will happen later`,
    remedy: `Start one${what === 'hosts' ? ' that reaches the hosts: `tandem worker --site SITE`.' : ': `tandem worker`, or the local stack: `tandem local up`.'}`,
    retryable: true,
    cause,
  });

/** Texts of an error and of its causes: the client of Temporal says only what it tried, its cause why it failed. */
export function textOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : '';
  const { details } = error as { details?: unknown };
  const own = typeof details === 'string' && details !== '' ? details : error.message;
  return [own, ...(error.cause === undefined ? [] : [textOf(error.cause)])].join(': ');
}

/** What matters of gRPC's account of its tries. */
export const lastError = (text: string): string =>
  (/last error: (?:error: )?([^\n]{1,200})/i.exec(text)?.[1] ?? text.split('\n')[0] ?? '')
    .slice(0, 200)
    .replace(/\. Resolution note: $/, '');

function isOf(error: unknown, type: new (...args: never[]) => Error): boolean {
  return error instanceof type || (error instanceof Error && error.cause !== undefined && isOf(error.cause, type));
}
