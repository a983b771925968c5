import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** What runs in Docker has an image. */
export const imageForDocker: Rule = function* ({ engine, prefill, decode, router }) {
  const remedy = (key: string) => `Set ${key}.image, or ${key}.runtime: process where the program is installed.`;
  const without = ROLES.filter((role) => (role === 'prefill' ? prefill : decode).image === undefined);
  if (engine.runtime === 'docker' && engine.image === undefined && without.length > 0) {
    const message = `is missing: ${without.join(' and ')} engines run in Docker`;
    yield error({ path: ['engine', 'image'], message, remedy: remedy('engine') });
  }
  if (!('external' in router) && router.runtime === 'docker' && router.image === undefined) {
    yield error({
      path: ['router', 'image'],
      message: 'is missing: the router runs in Docker',
      remedy: remedy('router'),
    });
  }
};

const LOGIN = /:\/\/[^/@\s:]+:[^/@\s]+@/;

/** What a source must look like, by its scheme; parts that are ".." or begin with a dash are refused below for all. */
const SHAPES: Readonly<Record<string, { readonly shape: RegExp; readonly wanted: string; readonly remedy: string }>> = {
  hf: {
    shape: /^hf:\/\/[\w.-]+\/[\w.-]+(?:@[\w./-]+)?$/,
    wanted: 'hf://ORG/NAME@REVISION',
    remedy: 'Name organisation, model and revision.',
  },
  https: {
    shape: /^https:\/\/[^\s/?#]+(?:\/[^\s?#]*)?$/,
    wanted: 'https://HOST/PATH/ without a query',
    remedy: 'Name the folder that holds the files and their SHA256SUMS.',
  },
  rsync: {
    shape: /^rsync:\/\/[^\s/]+\/\S+$/,
    wanted: 'rsync://HOST/MODULE/PATH',
    remedy: 'Name host, module and path.',
  },
  file: {
    shape: /^file:\/\/~?\/./,
    wanted: 'file:///PATH or file://~/PATH',
    remedy: 'Name the folder on the hosts from / or from ~/, the home of the SSH user.',
  },
};

/** Weights come from a place that Tandem can read, at a revision that does not move; nothing of it leaves its folder. */
export const readableSource: Rule = function* ({ model }) {
  const { source } = model;
  const path = ['model', 'source'];
  const got = JSON.stringify(source.replace(LOGIN, '://…@'));
  const [scheme, rest] = source.split('://', 2);
  const known = rest === undefined ? undefined : Object.hasOwn(SHAPES, scheme!) ? SHAPES[scheme!] : undefined;
  if (!known) {
    const message = `must begin with hf://, https://, rsync:// or file://, got ${got}`;
    yield error({ path, message, remedy: `Write hf://${model.id}@REVISION for a model of the Hugging Face Hub.` });
    return;
  }
  if (!known.shape.test(source)) {
    yield error({ path, message: `must be ${known.wanted}, got ${got}`, remedy: known.remedy });
    return;
  }
  const part = rest!.split(/[/@]/).find((one) => /^(?:\.\.?$|-)/.test(one.replaceAll(/%2e/gi, '.')));
  if (part !== undefined) {
    const message = `has the part ${JSON.stringify(part)}, which a path or a program takes for something else, got ${got}`;
    yield error({ path, message, remedy: 'Write the path without ".", ".." and parts that begin with a dash.' });
  } else if (scheme === 'hf' && !source.includes('@')) {
    yield warning({
      path,
      message: 'names no revision, so the main branch is meant, which moves',
      remedy: 'Append @ and the commit that the model page shows.',
    });
  }
};

/** Whoever hears the answers of a mirror could change them: https, but on this machine. */
export const readableEndpoint: Rule = function* ({ model: { endpoint } }) {
  if (endpoint === undefined) return;
  const path = ['model', 'endpoint'];
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const loopback = url !== undefined && /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])$/.test(url.hostname);
  if (url?.protocol === 'https:' || loopback) return;
  const message = `must be a URL that begins with https://, got ${JSON.stringify(endpoint.replace(LOGIN, '://…@'))}`;
  yield error({ path, message, remedy: 'Name a mirror that is asked by https, or take it out.' });
};
