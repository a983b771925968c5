import { DeployError } from '../errors.ts';
import { dockerFailure } from './docker.ts';
import type { Host, Output } from './types.ts';
import { ending, raw, type Raw } from '../text/raw.ts';

const SHORT_MS = 60_000;

export interface ImageRequest {
  /** As the spec has it: repository, tag or @sha256:…. */
  readonly reference: string;
  readonly policy: 'missing' | 'always' | 'never';
  readonly login?: { readonly user: string; readonly password: string };
  /** Registry host to ask instead of the one in the reference. */
  readonly mirror?: string;
  /** Limit of a pull, in milliseconds. */
  readonly pullTimeoutMs: number;
}

/**
 * Pulls with a login of its own: user, registry, image; the password is stdin. The credentials are beside that input, in
 * the folder of the frame, which goes with it however the command ends: nothing stays in the user's Docker configuration.
 */
const PULL_WITH_LOGIN = String.raw`
umask 077
input=$(readlink "/proc/$$/fd/0") || exit
DOCKER_CONFIG=$(dirname -- "$input")/docker
export DOCKER_CONFIG
mkdir -- "$DOCKER_CONFIG" || exit
docker login -u "$1" --password-stdin "$2" >/dev/null && docker pull -q "$3" </dev/null
`;

/** The id of an image on a host, fetched as the policy says. Errors: IMAGE_UNAVAILABLE, COMMAND_FAILED, HOST_*. */
export async function resolveImage(host: Host, request: ImageRequest): Promise<{ readonly id: string }> {
  const { reference, policy, mirror } = request;
  const wanted = mirror === undefined ? reference : mirrored(reference, mirror);
  const here = policy === 'always' ? undefined : await imageId(host, reference);
  if (here !== undefined) return { id: here };
  if (policy === 'never') throw unavailable(host, reference, 'is not there, and engine.pull.policy is never', raw(''));
  const pulled = await pull(host, wanted, request);
  if (pulled.exitCode !== 0) {
    throw dockerFailure(host, ['pull', wanted], pulled, () => registryFailure(host, wanted, pulled.stderr));
  }
  const id = await imageId(host, wanted);
  if (id === undefined) throw unavailable(host, wanted, 'was pulled and is not there', pulled.stdout);
  // Under the spec's own name the next look finds it; a digest cannot be a tag, its id is enough.
  if (wanted !== reference && !reference.includes('@')) {
    await host.must({ argv: ['docker', 'tag', id, reference], timeoutMs: SHORT_MS });
  }
  return { id };
}

async function imageId(host: Host, reference: string): Promise<string | undefined> {
  const argv = ['docker', 'image', 'inspect', '--format', '{{.Id}}', reference];
  const output = await host.run({ argv, timeoutMs: SHORT_MS });
  if (output.exitCode === 0) return output.stdout.trim();
  if (/no such image/i.test(output.stderr)) return undefined;
  throw dockerFailure(host, argv.slice(1), output);
}

function pull(host: Host, image: string, { login, pullTimeoutMs }: ImageRequest): Promise<Output> {
  if (!login) return host.run({ argv: ['docker', 'pull', '-q', image], timeoutMs: pullTimeoutMs });
  const argv = ['sh', '-c', PULL_WITH_LOGIN, 'sh', login.user, registryOf(image) ?? 'docker.io', image];
  return host.run({ argv, stdin: login.password, timeoutMs: pullTimeoutMs });
}

/** The registry host in a reference: a first part with a dot or a port, or localhost. */
function registryOf(reference: string): string | undefined {
  const [first, ...rest] = reference.split('/');
  return rest.length > 0 && /[.:]|^localhost$/.test(first!) ? first : undefined;
}

/** The same image at a mirror; Docker Hub's short names are spelled out, since only the Hub knows them. */
export function mirrored(reference: string, mirror: string): string {
  const registry = registryOf(reference);
  if (registry !== undefined) return mirror + reference.slice(registry.length);
  return `${mirror}/${reference.includes('/') ? '' : 'library/'}${reference}`;
}

function registryFailure(host: Host, image: string, stderr: Raw): DeployError | undefined {
  if (/manifest unknown|not found|pull access denied|unauthorized|denied|no basic auth/i.test(stderr)) {
    return unavailable(host, image, 'is refused by its registry', stderr);
  }
  if (/timeout|no such host|connection refused|unreachable|no route to host|i\/o|TLS|EOF|temporar/i.test(stderr)) {
    return unavailable(host, image, 'could not be pulled: its registry does not answer', stderr, {
      retryable: true,
      remedy: DAEMON_PROXY,
    });
  }
  return undefined;
}

/** Docker's daemon asks the registry, by its own environment: nothing that this client says gives it a proxy. */
const DAEMON_PROXY =
  ' Where the host reaches registries through a proxy, the Docker daemon must know it: "proxies" in /etc/docker/daemon.json, or HTTPS_PROXY in a drop-in of docker.service, then restart Docker.';

const unavailable = (
  host: Host,
  image: string,
  what: string,
  evidence: Raw,
  { retryable = false, remedy = '' }: { readonly retryable?: boolean; readonly remedy?: string } = {},
) =>
  new DeployError({
    code: 'IMAGE_UNAVAILABLE',
    message: `${host.ref.name}: the image ${image} ${what}`,
    remedy: `Try "docker pull ${image}" on ${host.ref.name}; see engine.image and engine.pull.${remedy}`,
    retryable,
    host: host.ref.name,
    evidence: ending(evidence),
  });
