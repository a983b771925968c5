import { DeployError } from '../src/errors.ts';
import { resolveImage } from '../src/drivers/images.ts';
import type { Drivers } from '../src/drivers/types.ts';
import type { HostRef } from '../src/plan/types.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { signal } from './context.ts';
import { secretOf } from './units.ts';
import { raw } from '../src/text/raw.ts';

export interface FetchImage {
  readonly ref: HostRef;
  /** As the plan has it: repository, tag or @sha256:…. */
  readonly reference: string;
  readonly pull: ClusterSpec['engine']['pull'];
}

/** Longest pull: images of SGLang for ROCm have tens of gigabytes. */
const PULL_MS = 2 * 3600 * 1000;

/** Bringing images to hosts. `resolve` is the Docker driver's; tests put another there. */
export function createImageActivities(drivers: Drivers, resolve: typeof resolveImage = resolveImage) {
  return {
    /** Fetches an image as `pull` says and gives its id, which a tag may change later. Errors: IMAGE_UNAVAILABLE, SECRET_MISSING. */
    async fetchImage({ ref, reference, pull }: FetchImage): Promise<{ readonly id: string }> {
      const password = await secretOf(drivers, pull.login?.password);
      return await resolve(drivers.host(ref, signal()), {
        reference,
        policy: pull.policy,
        pullTimeoutMs: PULL_MS,
        ...(pull.login && password !== undefined ? { login: { user: pull.login.user, password } } : {}),
        ...(pull.mirror === undefined ? {} : { mirror: pull.mirror }),
      });
    },

    /** Whether one reference is one image on all hosts. `ids` is by host. Errors: IMAGE_DIFFERS. */
    async compareImages({ reference, ids }: ImageIds): Promise<void> {
      sameImage({ reference, ids });
    },
  };
}

export interface ImageIds {
  readonly reference: string;
  /** Image id by host. */
  readonly ids: Readonly<Record<string, string>>;
}

/** The one id among `ids`. Errors: IMAGE_DIFFERS, naming which hosts have which. */
export function sameImage({ reference, ids }: ImageIds): string {
  const hostsById = new Map<string, string[]>();
  for (const [host, id] of Object.entries(ids)) hostsById.set(id, [...(hostsById.get(id) ?? []), host]);
  const [first, ...others] = [...hostsById].toSorted(([, a], [, b]) => b.length - a.length);
  if (!first) throw new Error(`no host has ${reference}`);
  if (others.length === 0) return first[0];
  const told = [first, ...others].map(([id, hosts]) => `${id} on ${hosts.join(', ')}`);
  throw new DeployError({
    code: 'IMAGE_DIFFERS',
    message: `${reference} is not the same image everywhere: ${told.join('; ')}`,
    remedy: `Pull it again on ${others.flatMap(([, hosts]) => hosts).join(', ')} (engine.pull.policy: always), or pin it: ${reference.split('@')[0]}@sha256:….`,
    retryable: false,
    host: others[0]![1][0]!,
    evidence: raw(told.join('\n')),
  });
}
