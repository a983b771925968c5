import { engineVersion, flagList, listedVersions, newestFlagList, resolveFlag, routerVersion } from '../flags.ts';
import type { Flag, FlagList, FlagPackage } from '../flags.ts';
import { didYouMean, nearest } from '../nearest.ts';
import type { FlagValue } from '../schema.ts';
import type { Path, Violation } from '../violation.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule, RuleContext } from './rule.ts';

/** Engine flags that Tandem sets, and why a spec may not. */
const ENGINE_OWN: Readonly<Record<string, string>> = {
  'disaggregation-mode': 'the role decides it',
  'disaggregation-bootstrap-port': 'it follows from engine.ports.bootstrap',
  'disaggregation-ib-device': 'it follows from rdma.devices and the NICs found on the host',
  host: 'it is the fabricAddress of the host',
  port: 'it follows from engine.ports.http',
  nnodes: 'it is hostsPerReplica',
  'node-rank': 'it follows from the place of the host in the engine',
  'dist-init-addr': 'it follows from engine.ports.distInit',
  'model-path': 'it follows from model.source and model.dir',
  'served-model-name': 'it is model.id',
  'base-gpu-id': 'the plan gives each engine its GPUs',
  'gpu-id-step': 'the plan gives each engine its GPUs',
  'api-key': 'it is engine.apiKey, which keeps it off the command line',
  'admin-api-key': 'it is engine.adminKey, which keeps it off the command line',
  config: 'it carries the keys of engine.apiKey and engine.adminKey',
  'enable-metrics': 'it is always on, since acceptance reads the metrics',
  help: 'the engine would print its help and end',
};

/** The same for routers. */
const ROUTER_OWN: Readonly<Record<string, string>> = {
  'pd-disaggregation': 'it is always on',
  'epd-disaggregation': 'the cluster has prefill and decode engines only',
  prefill: 'engines are registered once they are proven',
  decode: 'engines are registered once they are proven',
  encode: 'the cluster has prefill and decode engines only',
  'worker-urls': 'engines are registered once they are proven',
  'service-discovery': 'engines are registered once they are proven',
  'discovery-provider': 'engines are registered once they are proven',
  'discovery-file': 'engines are registered once they are proven',
  host: 'it is router.listen',
  port: 'it is router.port',
  policy: 'it is router.policy',
  'model-path': 'it follows from model.source and model.dir',
  'api-key': 'it is router.apiKey, which keeps it off the command line',
  'control-plane-api-keys': 'it is router.adminKey, which keeps it off the command line',
  help: 'the router would print its help and end',
};

/** What one map of args is held against. */
interface Target {
  readonly package: FlagPackage;
  readonly version: string | undefined;
  /** False when the version was read from a tag, as of a nightly image. */
  readonly exact: boolean;
  readonly own: Readonly<Record<string, string>>;
}

/** Engine args are flags that the version of each role has, with values that it takes. */
export const engineFlags: Rule = function* (spec, context) {
  for (const section of ['engine', ...ROLES] as const) {
    // engine.args go to both roles, whose images may be of two versions; what both complain of is said once.
    for (const role of section === 'engine' ? ROLES : [section]) {
      const target = { package: 'sglang', own: ENGINE_OWN, ...engineVersion(spec, role) } as const;
      yield* judgeArgs(spec[section].args, [section, 'args'], target, context);
    }
  }
};

/** Router args are flags that the version of the router has, with values that it takes. */
export const routerFlags: Rule = function* ({ router }, context) {
  if ('external' in router) return;
  const target = {
    package: router.implementation,
    version: routerVersion(router),
    exact: true,
    own: ROUTER_OWN,
  } as const;
  yield* judgeArgs(router.args, ['router', 'args'], target, context);
  const policy = flagList(target.package, target.version)?.flags['policy'];
  if (policy) yield* judgeValue(policy, router.policy, ['router', 'policy'], context);
};

/** Where there is no list of flags, the spec's author is told so: once for each version. */
export const uncheckedFlags: Rule = function* (spec) {
  for (const role of ROLES) {
    const args = { ...spec.engine.args, ...spec[role].args };
    const { version, exact } = engineVersion(spec, role);
    if (Object.keys(args).length === 0 || flagList('sglang', version)) continue;
    const path = exact ? ['engine', 'version'] : spec[role].image === undefined ? ['engine', 'image'] : [role, 'image'];
    yield unchecked(path, 'sglang', version, 'engine.version');
  }
  const { router } = spec;
  if (!('external' in router) && Object.keys(router.args).length > 0) {
    const version = routerVersion(router);
    if (!flagList(router.implementation, version)) {
      yield unchecked(['router', 'version'], router.implementation, version, 'router.version');
    }
  }
};

function unchecked(path: Path, of: FlagPackage, version: string | undefined, key: string): Violation {
  const reason = version === undefined ? 'the image names no version' : `no list of flags of ${of} ${version} is known`;
  return warning({
    path,
    message: `args are unchecked: ${reason}`,
    remedy: `Set ${key} if it is ${knownVersions(of)}; else read the log should an engine or the router end at once.`,
  });
}

function knownVersions(of: FlagPackage): string {
  const versions = listedVersions(of);
  return versions.length > 5
    ? `one of the ${versions.length} releases from ${versions[0]} to ${versions.at(-1)}`
    : `one of ${versions.join(', ')}`;
}

function* judgeArgs(
  args: Readonly<Record<string, FlagValue>>,
  at: Path,
  target: Target,
  context: RuleContext,
): Iterable<Violation> {
  const listed = flagList(target.package, target.version);
  const list = listed ?? newestFlagList(target.package);
  const spelled = new Map<string, string>();
  for (const [key, value] of Object.entries(args)) {
    const path = [...at, key];
    if (key.startsWith('-')) {
      const bare = key.replace(/^-+/, '');
      yield error({ path, atKey: true, message: 'flags are written without dashes', remedy: `Write ${bare}.` });
      continue;
    }
    const found = resolveFlag(list, key);
    const name = found.kind === 'known' ? found.name : key;
    const reason = Object.hasOwn(target.own, name) ? target.own[name] : undefined;
    if (reason !== undefined) {
      yield error({ path, atKey: true, message: `is set by Tandem: ${reason}`, remedy: `Take ${key} out.` });
      continue;
    }
    const other = spelled.get(name);
    if (other !== undefined) {
      yield error({ path, atKey: true, message: `is the same flag as ${other}`, remedy: 'Keep one of the two.' });
    }
    spelled.set(name, key);
    if (!listed) continue; // uncheckedFlags says so.
    if (found.kind !== 'known') {
      yield unknownFlag(key, path, found, target, listed);
      continue;
    }
    if (found.flag.deprecated !== undefined) {
      const message = `is deprecated in ${target.package} ${listed.version}: ${found.flag.deprecated}`;
      yield warning({ path, atKey: true, message, remedy: `Move away from ${key} before it is gone.` });
    }
    yield* judgeValue(found.flag, value, path, context);
  }
}

function unknownFlag(
  key: string,
  path: Path,
  found: Exclude<ReturnType<typeof resolveFlag>, { kind: 'known' }>,
  { package: of, exact }: Target,
  { version }: FlagList,
): Violation {
  if (found.kind === 'ambiguous') {
    const message = `"${key}" could be any of ${found.matches.join(', ')} of ${of} ${version}`;
    return error({ path, atKey: true, message, remedy: 'Write the flag out.' });
  }
  const likely = found.nearest === undefined ? '' : `, did you mean "${found.nearest}"?`;
  const unknown = `unknown flag "${key}" of ${of} ${version}`;
  if (exact) {
    const remedy =
      found.nearest === undefined ? `Take it out; ${of} ${version} has no such flag.` : `Write ${found.nearest}.`;
    return error({ path, atKey: true, message: `${unknown}${likely}`, remedy });
  }
  return warning({
    path,
    atKey: true,
    message: `${unknown} (a warning only: the tag of a nightly image names the release before it)${likely}`,
    remedy: `Set engine.version: ${version} if the image holds exactly that; then this is an error.`,
  });
}

const WANTED: Readonly<Record<Flag['takes'], string>> = {
  nothing: 'no value: true or false',
  str: 'text',
  int: 'a whole number',
  float: 'a number',
  json: 'JSON, as quoted text',
  list: 'a list',
};

/** The value of one flag; false leaves the flag out, whatever it takes. */
function* judgeValue(flag: Flag, value: FlagValue, path: Path, context: RuleContext): Iterable<Violation> {
  if (value === false) return;
  const wanted = flag.suffixes ? 'a whole number, also as 32k or 1Ki' : WANTED[flag.takes];
  const refuse = (got: string) =>
    error({ path, message: `takes ${wanted}, got ${got}`, remedy: remedyOf(flag, value) });

  if (value === true) {
    if (flag.takes !== 'nothing' && flag.nargs !== '?' && flag.nargs !== '*') yield refuse('true');
    return;
  }
  if (flag.takes === 'nothing') {
    yield refuse(show(value));
    return;
  }
  if (Array.isArray(value) && flag.takes !== 'list') {
    yield refuse('a list');
    return;
  }
  const values = Array.isArray(value) ? value : [value];
  if (values.length === 0 && flag.nargs !== '*') {
    yield refuse('an empty list');
    return;
  }
  for (const [i, each] of values.entries()) {
    const here = Array.isArray(value) ? [...path, i] : path;
    const written = context.written(here);
    if (!fits(flag, each)) {
      yield error({ path: here, message: `takes ${wanted}, got ${show(each)}`, remedy: remedyOf(flag, each) });
    } else if (typeof each === 'number' && textual(flag) && written !== undefined && written !== String(each)) {
      // 1.10 would reach the engine as 1.1.
      yield error({ path: here, message: `takes text, got the number ${written}`, remedy: `Quote it: "${written}".` });
    } else if (flag.choices && !flag.choices.includes(String(each))) {
      const found = nearest(String(each), flag.choices);
      yield error({
        path: here,
        message: `must be one of ${flag.choices.join(', ')}, got ${show(each)}${didYouMean(String(each), flag.choices)}`,
        remedy: found === undefined ? 'Write one of these.' : `Write ${found}.`,
      });
    }
  }
}

const textual = ({ takes }: Flag) => takes === 'str' || takes === 'list' || takes === 'json';

function fits({ takes, suffixes }: Flag, value: string | number): boolean {
  const text = String(value).trim();
  switch (takes) {
    case 'int':
      return /^[-+]?\d+$/.test(text) || (suffixes === true && /^\d+(?:\.\d+)?[kmgt]i?$/i.test(text));
    case 'float':
      return /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$/i.test(text);
    case 'json':
      return isJson(text);
    default:
      return true;
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function remedyOf({ takes }: Flag, value: FlagValue): string {
  if (takes === 'nothing') return 'Write true for the bare flag, or take the line out.';
  if (value === true) return 'Write the value behind the colon.';
  return `Write ${WANTED[takes]}.`;
}

const show = (value: Exclude<FlagValue, boolean>): string => (Array.isArray(value) ? 'a list' : JSON.stringify(value));

/** The names of the flags that Tandem sets itself. */
export const OWN_FLAGS: Readonly<Record<'engine' | 'router', readonly string[]>> = {
  engine: Object.keys(ENGINE_OWN),
  router: Object.keys(ROUTER_OWN),
};
