import router032 from './flags/sglang-router@0.3.2.json' with { type: 'json' };
import sglang from './flags/sglang.json' with { type: 'json' };
import smg112 from './flags/smg@1.12.0.json' with { type: 'json' };
import smg113 from './flags/smg@1.13.0.json' with { type: 'json' };
import { nearest } from './nearest.ts';
import type { ClusterSpec, ExternalRouterSpec, ManagedRouterSpec } from './schema.ts';

/** A flag as its parser has it. */
export interface Flag {
  /** What the parser makes of the value; nothing: a bare flag. */
  readonly takes: 'nothing' | 'str' | 'int' | 'float' | 'json' | 'list';
  /** argparse's count of values for one occurrence; "1" on a list: the flag is repeated. */
  readonly nargs?: '1' | '?' | '*' | '+';
  readonly choices?: readonly string[];
  /** Other names of the same flag. */
  readonly aliases?: readonly string[];
  /** What to use instead. */
  readonly deprecated?: string;
  /** An integer that may also be written 32k or 1Ki. */
  readonly suffixes?: boolean;
}

/** The flags of one version of a package, by the name the package itself files them under. */
export interface FlagList {
  readonly package: FlagPackage;
  readonly version: string;
  /** Where the facts come from. */
  readonly source: string;
  readonly flags: Readonly<Record<string, Flag>>;
}

export type FlagPackage = 'sglang' | 'smg' | 'sglang-router';

/** What each version of SGLang changed: `scripts/sglang/release.py` writes it, and so a new release is one command. */
interface Releases extends Pick<FlagList, 'package' | 'source'> {
  readonly versions: readonly (Pick<FlagList, 'version' | 'flags'> & { readonly gone?: readonly string[] })[];
}

/** The lists in full, oldest first. */
function listsOf({ package: of, source, versions }: Releases): FlagList[] {
  let flags: FlagList['flags'] = {};
  return versions.map(({ version, flags: own, gone = [] }) => {
    const kept = Object.entries(flags).filter(([name]) => !gone.includes(name));
    flags = { ...Object.fromEntries(kept), ...own };
    return { package: of, version, source, flags };
  });
}

/** Oldest first. */
const LISTS = [
  ...listsOf(sglang as unknown as Releases),
  ...([smg112, smg113, router032] as readonly unknown[] as readonly FlagList[]),
];

/** The list of exactly this version; undefined when Tandem has none. */
export const flagList = (of: FlagPackage, version: string | undefined): FlagList | undefined =>
  LISTS.find((list) => list.package === of && list.version === version);

/** The newest list of a package: names for versions without a list. */
export const newestFlagList = (of: FlagPackage): FlagList => LISTS.findLast((list) => list.package === of)!;

/** The versions of which Tandem has a list, oldest first. */
export const listedVersions = (of: FlagPackage): string[] =>
  LISTS.filter((list) => list.package === of).map(({ version }) => version);

export type FlagResolution =
  | { readonly kind: 'known'; readonly name: string; readonly flag: Flag }
  | { readonly kind: 'ambiguous'; readonly matches: readonly string[] }
  | { readonly kind: 'unknown'; readonly nearest?: string };

/**
 * The flag that `name` (without dashes) means, as argparse finds it: the exact name or alias, else the only one that
 * begins so. `name` in the answer is the same for every spelling of a flag.
 */
export function resolveFlag(list: Pick<FlagList, 'flags'>, name: string): FlagResolution {
  const spellings = spellingsOf(list);
  const matches = matchesOf(spellings, name);
  const [only] = matches;
  if (matches.length > 1) return { kind: 'ambiguous', matches };
  if (only !== undefined) {
    const canonical = spellings.get(only)!;
    return { kind: 'known', name: canonical, flag: list.flags[canonical]! };
  }
  const found = nearest(name, [...spellings.keys()]);
  return { kind: 'unknown', ...(found === undefined ? {} : { nearest: found }) };
}

/** One name for every spelling of a flag; a name that the list does not know stays as it is. */
export function canonicalFlag(list: Pick<FlagList, 'flags'>, name: string): string {
  const spellings = spellingsOf(list);
  const [only, ...more] = matchesOf(spellings, name);
  return only === undefined || more.length > 0 ? name : spellings.get(only)!;
}

/** The spellings that `name` may mean: itself, else all that begin so. */
const matchesOf = (spellings: ReadonlyMap<string, string>, name: string): readonly string[] =>
  spellings.has(name)
    ? [name]
    : [...spellings.keys()].filter((spelling) => name !== '' && spelling.startsWith(name)).toSorted();

const SPELLINGS = new WeakMap<object, ReadonlyMap<string, string>>();

/** Every spelling of every flag, with the flag's own name; made once for each list, and asked for each flag of a spec. */
function spellingsOf({ flags }: Pick<FlagList, 'flags'>): ReadonlyMap<string, string> {
  const made = SPELLINGS.get(flags);
  if (made) return made;
  const spellings = new Map(
    Object.entries(flags).flatMap(([canonical, { aliases = [] }]) =>
      [canonical, ...aliases].map((spelling) => [spelling, canonical] as const),
    ),
  );
  SPELLINGS.set(flags, spellings);
  return spellings;
}

/**
 * The version of SGLang that a role's engines run. `exact`: the spec says so. A tag only names the newest release that a
 * nightly image was built after, so its flags may be some more and some fewer. Without `role`, of engine.image.
 */
export function engineVersion(
  spec: Pick<ClusterSpec, 'engine'> & Partial<Pick<ClusterSpec, 'prefill' | 'decode'>>,
  role?: 'prefill' | 'decode',
): { readonly version: string | undefined; readonly exact: boolean } {
  if (spec.engine.version !== undefined) return { version: spec.engine.version.replace(/^v/, ''), exact: true };
  const image = (role && spec[role]?.image) ?? spec.engine.image;
  return { version: image === undefined ? undefined : versionOfTag(image), exact: false };
}

/** "rocm/sgl-dev:v0.5.10.post1-rocm720-mi30x" names 0.5.10.post1. */
function versionOfTag(image: string): string | undefined {
  const [named = ''] = image.split('@', 1);
  const tag = /^[^:]*:([^:]+)$/.exec(named.slice(named.lastIndexOf('/') + 1))?.[1];
  return tag && /^v?(\d+\.\d+\.\d+(?:\.?(?:post|rc|dev)\d+)?)(?![\d.])/.exec(tag)?.[1];
}

const ROUTER_DEFAULTS = { smg: '1.13.0', 'sglang-router': '0.3.2' } as const;

/** The version of the router, managed or external: what the spec says, else the one that Tandem was made with. */
export function routerVersion(router: ManagedRouterSpec | ExternalRouterSpec): string {
  const { implementation, version } = 'external' in router ? router.external : router;
  return version?.replace(/^v/, '') ?? ROUTER_DEFAULTS[implementation];
}
