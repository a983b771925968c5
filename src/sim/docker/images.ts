import { createHash } from 'node:crypto';
import type { ImageScenario } from '../scenario.ts';
import { daemonError } from './command.ts';

/** An image as the engine of one host holds it. */
export interface Image {
  /** "sha256:…" */
  readonly id: string;
  readonly tags: readonly string[];
  readonly digests: readonly string[];
  readonly sizeBytes: number;
}

/** A reference taken apart as Docker does: "rocm/sgl-dev:v1" → docker.io, rocm/sgl-dev, v1. */
export interface Reference {
  readonly registry: string;
  /** As users write it: without docker.io and library/. */
  readonly familiar: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** Undefined for what is no reference. */
export function parseReference(text: string): Reference | undefined {
  const match =
    /^((?:[\w.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([\w][\w.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?$/.exec(
      text,
    );
  if (!match) return undefined;
  const [, name = '', tag, digest] = match;
  const first = name.includes('/') ? name.slice(0, name.indexOf('/')) : '';
  const registry = first.includes('.') || first.includes(':') || first === 'localhost' ? first : 'docker.io';
  const familiar = name.replace(/^docker\.io\//, '').replace(/^library\//, '');
  return { registry, familiar, tag: tag ?? (digest ? undefined : 'latest'), digest };
}

export const familiarName = ({ familiar, tag, digest }: Reference): string =>
  `${familiar}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** Throws what the engine says of a registry that nobody runs: the catalogue names those that somebody does, beside Docker Hub. */
export function needRegistry(catalogue: readonly ImageScenario[], registry: string): void {
  if (registry === 'docker.io') return;
  if (catalogue.some(({ reference }) => parseReference(reference)?.registry === registry)) return;
  const [name = '', port = '443'] = registry.split(':');
  const isAddress = /^[\d.]+$/.test(name);
  const why = isAddress ? ` ${name}:${port}: connect: connection refused` : `: lookup ${name}: no such host`;
  throw daemonError(`Get "https://${registry}/v2/": dial tcp${why}`);
}

/** What the registry gives this host for a reference; undefined when it does not know it. A digest names the manifest of any of its images. */
export function registryImage(
  catalogue: readonly ImageScenario[],
  asked: Reference,
  host: string,
): { image: Image; entry: ImageScenario } | undefined {
  for (const entry of catalogue) {
    const reference = parseReference(entry.reference);
    if (!reference || reference.familiar !== asked.familiar) continue;
    const id = entry.otherIdOn[host] ?? entry.id ?? sha256(entry.reference);
    const digest = reference.digest ?? `sha256:${sha256(`manifest of ${id}`)}`;
    if (asked.digest === undefined ? asked.tag !== reference.tag : asked.digest !== digest) continue;
    const image = {
      id: `sha256:${id}`,
      tags: asked.digest === undefined ? [familiarName(asked)] : [],
      digests: [`${asked.familiar}@${digest}`],
      sizeBytes: entry.sizeBytes,
    };
    return { image, entry };
  }
  return undefined;
}

/** Finds an image by reference, id or the beginning of an id. */
export function findImage(images: readonly Image[], text: string): Image | undefined {
  const reference = parseReference(text);
  const byName =
    reference &&
    images.find(({ tags, digests }) =>
      reference.digest === undefined
        ? tags.includes(familiarName(reference))
        : digests.includes(`${reference.familiar}@${reference.digest}`),
    );
  if (byName) return byName;
  const prefix = text.replace(/^sha256:/, '');
  return /^[0-9a-f]{4,64}$/.test(prefix) ? images.find(({ id }) => id.slice(7).startsWith(prefix)) : undefined;
}

/** The images of a host after one more: a tag belongs to one image only. */
export function withImage(images: readonly Image[], added: Image): Image[] {
  const others = images.map((image) =>
    image.id === added.id ? image : { ...image, tags: image.tags.filter((tag) => !added.tags.includes(tag)) },
  );
  const same = others.find(({ id }) => id === added.id);
  const union = (a: readonly string[] = [], b: readonly string[]) => [...new Set([...a, ...b])];
  const merged = { ...added, tags: union(same?.tags, added.tags), digests: union(same?.digests, added.digests) };
  return [...others.filter((image) => image !== same), merged];
}

/** `docker image inspect`, one element. */
export const imageJson = (image: Image) => ({
  Id: image.id,
  RepoTags: image.tags,
  RepoDigests: image.digests,
  Parent: '',
  Comment: '',
  Created: '2026-04-27T08:00:00Z',
  DockerVersion: '',
  Author: '',
  Config: {
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
    Cmd: ['/bin/bash'],
    WorkingDir: '/sgl-workspace',
    Entrypoint: null,
    Labels: null,
  },
  Architecture: 'amd64',
  Os: 'linux',
  Size: image.sizeBytes,
  RootFS: { Type: 'layers', Layers: [image.id] },
});
