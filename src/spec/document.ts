import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Document, Pair, YAMLError } from 'yaml';
import type { Path, Violation } from './violation.ts';
import { isMergeKey, MAX_COPIES, valueOf } from './yaml-value.ts';

/** A spec file is written by hand; what is larger is something else. */
const MAX_BYTES = 1024 * 1024;
/** Deepest nesting that is read, and deepest list-in-list on one line. */
const MAX_DEPTH = 32;
/** Most brackets open at once, and widest indentation. */
const MAX_OPEN = 256;
/** Most errors of YAML that are explained; after as many, those that follow are what the parser made of them. */
const MAX_EXPLAINED = 100;

export interface Position {
  /** Both count from 1. */
  readonly line: number;
  readonly column: number;
}

/** The text of a spec as data that still knows where each key and value stood. */
export interface SpecDocument {
  readonly value: unknown;
  /** Where a violation points: the key or value at its path, else the nearest thing around it that was written. */
  readonly locate: (violation: Pick<Violation, 'path' | 'target' | 'atKey'>) => Position;
  /** The characters of a plain or quoted value as the user wrote them; undefined for lists, mappings and aliases. */
  readonly written: (path: Path) => string | undefined;
}

export interface Located extends Violation, Position {}

/** What YAML itself has to say. Without `document` nothing more can be said of the text. */
export interface ReadDocument {
  readonly document?: SpecDocument;
  readonly problems: readonly Located[];
  /** How many more there are than are told. */
  readonly untold?: number;
}

/** Reads one YAML document and refuses what could hurt (size, depth, aliases) or mean something else than it looks like. */
export function readDocument(text: string): ReadDocument {
  const bytes = new TextEncoder().encode(text).length;
  if (bytes > MAX_BYTES) {
    return refused(
      `the file has ${bytes} bytes, at most ${MAX_BYTES} (1 MiB) are read`,
      'Is this a spec? One of a thousand hosts has a tenth of that; name the right file.',
    );
  }
  const deep = firstTooDeep(text);
  if (deep) return refused(TOO_DEEP.message, TOO_DEEP.remedy, deep);

  const lines = new LineCounter();
  // Duplicate keys are found below: the library compares every key with every other, slow enough to be an attack.
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true, uniqueKeys: false });
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const index = indexDocument(yaml);
  const misread = relevant([...yaml.errors, ...yaml.warnings], lines);
  const problems: Located[] = misread.slice(0, MAX_EXPLAINED).map((error) => {
    const { message, remedy } = explain(error, text);
    const path = index.pathAt(error.pos[0]);
    return { severity: 'error', path, ...position(Math.min(error.pos[0], text.length)), message, remedy };
  });
  problems.push(
    ...index.problems.map(({ offset, ...rest }) => ({ severity: 'error' as const, ...rest, ...position(offset) })),
  );
  const fatal = index.fatal || yaml.errors.some((error) => !isQuotable(error));
  if (fatal || misread.length > MAX_EXPLAINED) {
    return { problems, untold: Math.max(0, misread.length - MAX_EXPLAINED) };
  }

  if (yaml.contents === null) return refused('the file is empty', 'Start from specs/demo.yaml.');
  if (!isMap(yaml.contents)) {
    return refused(
      `must be a mapping of keys, got ${isSeq(yaml.contents) ? 'a list' : 'a single value'}`,
      'Begin with specVersion: 1.',
      position(yaml.contents.range?.[0] ?? 0),
    );
  }
  const read = valueOf(yaml);
  if (!('value' in read)) {
    return read.tooMany === undefined
      ? refused('a merge key must name a mapping', 'Write <<: *NAME, NAME being a mapping.', position(read.noMapping))
      : refused(
          `aliases stand for far more than is written (more than ${MAX_COPIES} copies)`,
          'Write the values out, or use fewer aliases.',
          position(read.tooMany),
        );
  }
  return {
    problems,
    document: {
      value: read.value,
      locate: ({ path, target, atKey }) => position(index.offsetOf(target ?? path, atKey ?? false)),
      written: (path) => index.places.get(JSON.stringify(path))?.source,
    },
  };
}

function refused(message: string, remedy: string, at: Position = { line: 1, column: 1 }): ReadDocument {
  return { problems: [{ severity: 'error', path: [], message, remedy, ...at }] };
}

const TOO_DEEP = { message: 'nested too deeply for a spec', remedy: 'A spec needs fewer than ten levels.' };

/**
 * Nesting that would exhaust a recursive reader: some 20,000 open brackets end the whole process inside the library. It
 * is counted on the bare text, before the library sees it; brackets inside text count too, so the bound is generous.
 */
function firstTooDeep(text: string): Position | undefined {
  let brackets = 0;
  for (const [row, line] of text.split('\n').entries()) {
    const indent = /^ */.exec(line)![0].length;
    const dashes = /^(?:[-?:] +)*/.exec(line.slice(indent))![0].match(/[-?:]/g)?.length ?? 0;
    if (indent > MAX_OPEN || dashes > MAX_DEPTH) return { line: row + 1, column: indent + 1 };
    for (let column = 0; column < line.length; column++) {
      const character = line[column];
      if (character === '[' || character === '{') brackets += 1;
      if (character === ']' || character === '}') brackets = Math.max(0, brackets - 1);
      if (brackets > MAX_OPEN) return { line: row + 1, column: column + 1 };
    }
  }
  return undefined;
}

interface Place {
  readonly path: Path;
  /** Offset of the key; undefined in a list. */
  readonly key?: number | undefined;
  readonly start: number;
  readonly end: number;
  readonly source?: string | undefined;
}

interface Problem {
  readonly path: Path;
  readonly offset: number;
  readonly message: string;
  readonly remedy: string;
}

/** Walks what was written, aliases not followed, so the cost is that of the text. */
function indexDocument(yaml: Document) {
  const places = new Map<string, Place>();
  const problems: Problem[] = [];
  const anchors = new Set<string>();
  let fatal = false;

  const add = (place: Place) => places.set(JSON.stringify(place.path), place);
  const complain = (path: Path, offset: number, message: string, remedy: string, isFatal = false) => {
    problems.push({ path, offset, message, remedy });
    fatal ||= isFatal;
  };

  function walk(
    node: unknown,
    path: Path,
    around: { readonly key?: number; readonly offset: number },
    open: readonly string[],
  ) {
    const [start, end] = rangeOf(node) ?? [around.offset, around.offset];
    if (path.length > MAX_DEPTH) return complain(path, start, TOO_DEEP.message, TOO_DEEP.remedy, true);
    add({ path, key: around.key, start, end, source: sourceOf(node) });
    if (isAlias(node)) {
      if (open.includes(node.source)) {
        complain(path, start, `the alias *${node.source} stands inside of what it names`, 'Write the value out.', true);
      } else if (!anchors.has(node.source)) {
        complain(
          path,
          start,
          `the alias *${node.source} names no anchor before it`,
          `Write &${node.source} at the value that it stands for.`,
          true,
        );
      }
      return;
    }
    if (isScalar(node) && typeof node.value === 'string' && node.value.includes('\0')) {
      complain(path, start, 'holds a NUL character, which no program can be given', 'Take it out.');
    }
    const anchor = isNode(node) ? (node as { readonly anchor?: string }).anchor : undefined;
    if (anchor !== undefined) anchors.add(anchor);
    const inside = anchor === undefined ? open : [...open, anchor];
    if (isSeq(node)) node.items.forEach((item, i) => walk(item, [...path, i], { offset: start }, inside));
    if (isMap(node)) {
      for (const pair of node.items) walkPair(pair, path, start, inside);
    }
  }

  function walkPair(pair: Pair, path: Path, offset: number, open: readonly string[]) {
    const at = rangeOf(pair.key)?.[0] ?? offset;
    if (!isScalar(pair.key)) {
      return complain(path, at, 'a key must be a word, got a list, a mapping or an alias', 'Write a plain key.', true);
    }
    const name = typeof pair.key.value === 'string' ? pair.key.value : (pair.key.source ?? '');
    const here = [...path, name];
    if (places.has(JSON.stringify(here)) && !isMergeKey(pair.key)) {
      complain(here, at, 'is here twice', 'Keep one of the two.');
    }
    walk(pair.value, here, { key: at, offset: at }, open);
  }

  walk(yaml.contents, [], { offset: 0 }, []);

  /** The innermost thing that was written around `path`. */
  const around = (path: Path): Place => {
    for (let length = path.length; length > 0; length--) {
      const place = places.get(JSON.stringify(path.slice(0, length)));
      if (place) return place;
    }
    return { path: [], start: places.get('[]')!.start, end: 0 };
  };

  return {
    places,
    problems,
    fatal,
    offsetOf(path: Path, atKey: boolean): number {
      const place = around(path);
      const wanted = place.path.length === path.length && !atKey;
      return wanted ? place.start : (place.key ?? place.start);
    },
    pathAt(offset: number): Path {
      let found: Path = [];
      for (const { path, key, start, end } of places.values()) {
        if ((key ?? start) <= offset && offset <= end && path.length >= found.length) found = path;
      }
      return found;
    },
  };
}

function rangeOf(node: unknown): readonly [start: number, end: number] | undefined {
  if (!isNode(node) || !node.range) return undefined;
  return [node.range[0], node.range[1]];
}

function sourceOf(node: unknown): string | undefined {
  return isScalar(node) ? node.source : undefined;
}

/** One error a line, and of a file with tabs only the tabs: the others are what the parser made of them. */
function relevant(errors: readonly YAMLError[], lines: LineCounter): YAMLError[] {
  const tabs = errors.filter(({ code }) => code === 'TAB_AS_INDENT');
  const byLine = new Map<number, YAMLError[]>();
  for (const error of tabs.length > 0 ? tabs : errors) {
    const { line } = lines.linePos(error.pos[0]);
    const same = byLine.get(line);
    if (same) same.push(error);
    else byLine.set(line, [error]);
  }
  // Several values of one line may lack their quotes, and each is told.
  return [...byLine.values()].flatMap((same) => (same[0]!.code === 'BAD_SCALAR_START' ? same : same.slice(0, 1)));
}

/** What was meant where YAML takes the first character for something else: ">=6.3", "@x". Undefined for other errors. */
function unquotedAt(error: YAMLError, text: string): string | undefined {
  if (!isQuotable(error)) return undefined;
  const lineStart = text.lastIndexOf('\n', error.pos[0] - 1) + 1;
  const before = text.slice(lineStart, error.pos[0]);
  // In a block the position is behind the ">"; in a flow it is at it.
  const start = /[>|]$/.test(before) ? error.pos[0] - 1 : error.pos[0];
  const inFlow = error.code === 'BAD_SCALAR_START' && /[{[]/.test(before);
  return (inFlow ? /^[^,}\]#\n\r]*/ : /^[^#\n\r]*/).exec(text.slice(start))![0].trim();
}

/** Errors after which the rest of the document still reads as it was meant. */
const isQuotable = (error: YAMLError) =>
  error.code === 'BAD_SCALAR_START' || error.message.startsWith('Block scalar header');

function explain(error: YAMLError, text: string): { message: string; remedy: string } {
  const unquoted = unquotedAt(error, text);
  if (unquoted !== undefined) {
    return {
      message: `${unquoted} must be quoted: to YAML a leading ${unquoted[0]} means something else`,
      remedy: `Write "${unquoted}".`,
    };
  }
  switch (error.code) {
    case 'TAB_AS_INDENT':
      return { message: 'a tab in the indentation, where YAML takes spaces only', remedy: 'Indent with spaces.' };
    case 'MULTIPLE_DOCS':
      return { message: 'a second document begins here, one is wanted', remedy: 'Put each spec into its own file.' };
    case 'TAG_RESOLVE_FAILED':
      return {
        message: `${text.slice(...error.pos)} is a tag, and tags are not used here`,
        remedy: 'Take the tag out.',
      };
    default:
      return { message: `not YAML: ${lowerFirst(error.message)}`, remedy: 'Correct the YAML here or just before.' };
  }
}

const lowerFirst = (text: string) => text.slice(0, 1).toLowerCase() + text.slice(1);
