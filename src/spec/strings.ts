import { z } from 'zod';

/**
 * Kinds of text that a spec holds. Each is refused here, with its line, where it could mean something else to a program, a
 * path or a terminal further on: a leading dash is an option, ".." leaves the folder, a control character ends a line.
 */

/** Control characters and those that turn text around or are not seen; as ranges, which editors take from the JSON Schema. */
const UNSEEN = String.raw`\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff`;
const SEEN = String.raw`[^${UNSEEN}]`;
const WORD = String.raw`[^\s${UNSEEN}]`;

/** Longest texts, in characters: of a path as Linux takes it, of one line, of a name. */
const PATH_MAX = 1_024;
const LINE_MAX = 1_024;
const NAME_MAX = 255;

const text = (max: number) => z.string().min(1, { abort: true }).max(max, { abort: true });
/** `pattern` is put together of the constants of this file alone, and is asked only of a text that has an end. */
const whole = (pattern: string) => new RegExp(`^${pattern}$`); // oxlint-disable-line tandem/regexp-written-out
const matching = (pattern: string, wanted: string, max = LINE_MAX) => text(max).regex(whole(pattern), wanted);

/** One line for people and programs. */
export const line = (max = LINE_MAX) =>
  matching(`${SEEN}+`, 'must be one line of plain text: no line breaks, control or invisible characters', max);

/** Text for people, over several lines. */
export const paragraph = () =>
  matching(String.raw`(?:${SEEN}|[\n\t])+`, 'must be plain text: no control or invisible characters');

/** What a program is given to the letter. */
export const argument = () => text(4_096);

/** One word that a program takes for a value and never for an option. */
export const word = (what: string) => matching(`(?!-)${WORD}+`, `must be ${what}: one word, without a leading dash`);

/** A name of letters, digits, dots, dashes and underscores, as programs know devices, groups and releases by. */
export const plainName = (what: string) =>
  matching(
    String.raw`[A-Za-z0-9_][\w.+-]*`,
    `must be ${what}: letters, digits, dots, dashes and underscores`,
    NAME_MAX,
  );

/** Below a slash each: no part that is "..". */
const PARTS = String.raw`(?:/(?!\.\.(?:/|$))[^/${UNSEEN}]*)+`;
const WHERE = 'without ".." and control characters';

/** A path on a host: absolute, or under the home of the SSH user. */
export const hostPath = () => matching(`~?${PARTS}`, `must be a path that begins with / or ~/, ${WHERE}`, PATH_MAX);

/** A path in a container or of the system. */
export const absolutePath = (wanted = 'must be a path that begins with /') =>
  text(PATH_MAX).startsWith('/', { error: wanted, abort: true }).regex(whole(PARTS), `must be a path ${WHERE}`);

/** A file on the Temporal worker, which may be named from where that was started. */
export const workerFile = () =>
  matching(
    String.raw`(?!-)(?!\.\.(?:/|$))[^/${UNSEEN}]*(?:/(?!\.\.(?:/|$))[^/${UNSEEN}]*)*`,
    `must be a path ${WHERE}, and without a leading dash`,
    PATH_MAX,
  );

/** A path on the Temporal worker, fit for an ssh_config. */
export const workerPath = () =>
  matching(
    String.raw`~?(?:/(?!\.\.(?:/|$))(?:[^/"$${UNSEEN}]|\$(?!\{))*)+`,
    `must be a path that begins with / or ~/, ${WHERE}, quotes or \${`,
    PATH_MAX,
  );

/** A device of the host, or one by the container device interface: vendor/class=name. */
export const device = () =>
  matching(
    String.raw`(?:(?:/(?!\.\.(?:/|:|$))[^/${UNSEEN}]*)+|[A-Za-z0-9][\w.-]*/[\w.-]+=[\w.:-]+)`,
    'must be a path that begins with /, without "..", or VENDOR/CLASS=NAME',
  );

/** The name of a container image, as Docker reads it. */
export const image = () =>
  matching(
    String.raw`[A-Za-z0-9][\w.-]*(?::\d+(?=/))?(?:/[\w.-]+)*(?::\w[\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]+)?`,
    'must be the name of an image, as registry/name:tag or name@sha256:…',
    NAME_MAX,
  );

/** The name of a model, which becomes folders below model.dir. */
export const modelId = () =>
  matching(
    String.raw`[A-Za-z0-9_][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)*`,
    'must be the name of a model, as organisation/name: letters, digits, dots, dashes and underscores, each part beginning with one that is no dot or dash',
    NAME_MAX,
  );

/** An address that paths are appended to. */
export const baseUrl = (wanted: string) => matching(String.raw`https?://[^\s?#${UNSEEN}]+`, wanted);

/** A public host key, as ssh prints it. */
export const hostKey = () =>
  matching(`[a-z][a-z0-9@.-]* [A-Za-z0-9+/=]+(?: ${SEEN}*)?`, 'must be a public host key, "ssh-ed25519 AAAA…"', 4_096);

/** A leading dash is refused: ssh would take such an address or user for an option. */
export const address = () =>
  matching('[A-Za-z0-9:][A-Za-z0-9.:_%-]*', 'must be a host name or an IP address', NAME_MAX);
export const user = () => matching(String.raw`[A-Za-z0-9_][^\s:/"'${UNSEEN}]*`, 'must be the name of a user', NAME_MAX);
export const variable = () =>
  matching('[A-Za-z_][A-Za-z0-9_]*', 'must be the name of an environment variable', NAME_MAX);

/** Flags of a program, by their names. Whether it has them is another question. */
export const flagName = () => matching(`${WORD}+`, 'must be the name of a flag', NAME_MAX);
