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

const SOURCES = /^(?:hf|https|rsync|file):\/\/./;
const HUB_SOURCE = /^hf:\/\/[^/@\s]+\/[^/@\s]+(?:@[^@\s]+)?$/;

/** Weights come from a place that Tandem can read, at a revision that does not move. */
export const readableSource: Rule = function* ({ model }) {
  const path = ['model', 'source'];
  const got = JSON.stringify(model.source.replace(/:\/\/[^/@\s:]+:[^/@\s]+@/, '://…@'));
  if (!SOURCES.test(model.source)) {
    const message = `must begin with hf://, https://, rsync:// or file://, got ${got}`;
    yield error({ path, message, remedy: `Write hf://${model.id}@REVISION for a model of the Hugging Face Hub.` });
  } else if (model.source.startsWith('hf://') && !HUB_SOURCE.test(model.source)) {
    yield error({
      path,
      message: `must be hf://ORG/NAME@REVISION, got ${got}`,
      remedy: 'Name organisation, model and revision.',
    });
  } else if (model.source.startsWith('hf://') && !model.source.includes('@')) {
    yield warning({
      path,
      message: 'names no revision, so the main branch is meant, which moves',
      remedy: 'Append @ and the commit that the model page shows.',
    });
  }
};
