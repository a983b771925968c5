import type { SecretRef } from '../schema.ts';
import { error } from './rule.ts';
import type { Rule } from './rule.ts';

/**
 * A router asks its clients for its key and passes their one Authorization header on to the engines, which ask for
 * theirs: two different keys refuse every request. Values are not known here, so the references must be the same.
 */
export const oneClientKey: Rule = function* ({ engine, router }) {
  const external = 'external' in router;
  const { apiKey } = external ? router.external : router;
  if (engine.apiKey === undefined || apiKey === undefined || isSame(engine.apiKey, apiKey)) return;
  const path = external ? ['router', 'external', 'apiKey'] : ['router', 'apiKey'];
  yield error({
    path,
    message: 'is another secret than engine.apiKey, and the router passes the key of a client on to the engines',
    remedy: `Write ${path.join('.')}: ${show(engine.apiKey)} as engine.apiKey has it, or leave one of the two out.`,
  });
};

const isSame = (one: SecretRef, other: SecretRef): boolean => show(one) === show(other);

const show = (ref: SecretRef): string =>
  'fromEnv' in ref ? `{ fromEnv: ${ref.fromEnv} }` : `{ fromFile: ${ref.fromFile} }`;
