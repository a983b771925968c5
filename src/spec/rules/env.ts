import type { ClusterSpec } from '../schema.ts';
import type { Path } from '../violation.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** Words of a variable's name that say its value is a secret: HF_TOKEN, not TOKENIZERS_PARALLELISM. */
const SECRET_WORD =
  /(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|APIKEY|(?:API|ACCESS|SECRET|PRIVATE|ADMIN)_KEY)(?:_|$)/i;
const LOGIN_IN_URL = /:\/\/[^/@\s:]+:[^/@\s]+@/;

/** A secret written out would be in the spec's digest, in event histories and in docker inspect. */
export const plainSecrets: Rule = function* (spec) {
  for (const { path, env } of environments(spec)) {
    for (const [name, value] of Object.entries(env)) {
      if (value === '' || !(SECRET_WORD.test(name) || LOGIN_IN_URL.test(value))) continue;
      const holder = path[0];
      yield warning({
        path: [...path, name],
        atKey: true,
        message: 'looks like a secret written out, which then stands in every history',
        remedy:
          holder === 'router'
            ? 'Take it out, and use router.apiKey or router.adminKey.'
            : `Move it to ${holder}.secretEnv: {${name}: {fromEnv: ${name}}}.`,
      });
    }
  }
};

/** A login inside a URL is a secret written out, too. */
export const plainLogins: Rule = function* (spec) {
  const places: readonly (readonly [Path, string | undefined])[] = [
    [['model', 'source'], spec.model.source],
    [['model', 'endpoint'], spec.model.endpoint],
    [['engine', 'pull', 'mirror'], spec.engine.pull.mirror],
  ];
  for (const [path, value] of places) {
    if (value === undefined || !LOGIN_IN_URL.test(value)) continue;
    const message = 'holds a login, which then stands in every history';
    const remedy =
      path[0] === 'model' ? 'Take it out, and use model.token.' : 'Take it out, and let the container engine know it.';
    yield warning({ path, message, remedy });
  }
};

/** One variable is plain or secret, not both. */
export const oneKindOfVariable: Rule = function* (spec) {
  for (const role of ROLES) {
    for (const plain of ['engine', role] as const) {
      for (const secret of ['engine', role] as const) {
        if (role === 'decode' && plain === 'engine' && secret === 'engine') continue; // Said for prefill.
        for (const name of Object.keys(spec[plain].env)) {
          if (!Object.hasOwn(spec[secret].secretEnv, name)) continue;
          const message = `is set by ${secret}.secretEnv, too`;
          yield error({ path: [plain, 'env', name], atKey: true, message, remedy: 'Keep one of the two.' });
        }
      }
    }
  }
};

/** Names that the docker program reads itself, so that their values travel as its arguments. */
const READ_BY_DOCKER = /^(?:PATH|HOME|LD_.*|DOCKER_.*)$/;

/** A secret that could only be passed as an argument would show in the process list of its host. */
export const hiddenSecrets: Rule = function* (spec) {
  if (spec.engine.runtime !== 'docker') return;
  for (const section of ['engine', ...ROLES] as const) {
    for (const name of Object.keys(spec[section].secretEnv)) {
      if (!READ_BY_DOCKER.test(name)) continue;
      yield error({
        path: [section, 'secretEnv', name],
        atKey: true,
        message: 'is a name that docker reads itself, so its value would show in the process list of the host',
        remedy: 'Give the variable another name.',
      });
    }
  }
};

function* environments(spec: ClusterSpec): Iterable<{ path: Path; env: Readonly<Record<string, string>> }> {
  for (const section of ['engine', ...ROLES] as const) yield { path: [section, 'env'], env: spec[section].env };
  if (!('external' in spec.router)) yield { path: ['router', 'env'], env: spec.router.env };
}
