/** Texts by which a host, a file or a model can be hostile, at any size. */
export interface Hostile {
  readonly title: string;
  /** A text of about so many bytes. */
  readonly text: (bytes: number) => string;
}

const repeated = (unit: string) => (bytes: number) => unit.repeat(Math.ceil(bytes / Math.max(1, unit.length)));

/** What is hostile to any parser. */
export const RUBBISH: readonly Hostile[] = [
  ['blanks', ' '],
  ['tabs', '\t'],
  ['blank lines', '\n'],
  ['lines of one blank', ' \n'],
  ['carriage returns', '\r'],
  ['separators of lines that are no line feeds', '\u2028\u0085'],
  ['one long word', 'a'],
  ['very many short lines', 'a\n'],
  ['digits', '1'],
  ['numbers with dots', '1.'],
  ['colons', ':'],
  ['dashes', '- '],
  ['slashes', '/'],
  ['quotes', '"'],
  ['NULs', '\0'],
  ['emoji', '😀é'],
  ['open brackets', '['],
  ['open braces', '{"a":'],
  ['open brackets, one a line', '[\n'],
  ['half a JSON document', '[{"gpu": 0, "bus": {"bdf": "0000:05:00.0"}}, '],
  ['half a JSON document, one a line', '[{"gpu": 0, "bus": {"bdf": "0000:05:00.0"}},\n'],
  ['escape sequences', '\u001b[31m'],
].map(([title, unit]) => ({ title: title!, text: repeated(unit!) }));

/** Numbered units, so that everything has a name of its own. */
export const numbered = (title: string, unit: (index: number) => string): Hostile => ({
  title,
  text(bytes) {
    const units: string[] = [];
    for (let size = 0; size < bytes; size += units.at(-1)!.length) units.push(unit(units.length));
    return units.join('');
  },
});

export const again = (title: string, unit: string): Hostile => ({ title, text: repeated(unit) });

/** Lines of one shape are as hostile as one of them. */
const shapeOf = (line: string) => line.replaceAll(/[0-9a-f]+/gi, '0').replaceAll(/\s+/g, ' ');

/** Most lines of a document that are made hostile. */
const LINES = 5;

/**
 * What nearly is what a tool prints: of a document in its own format, the whole, each line again and again, with and
 * without line ends, and each line with one of its characters again and again, the rest around it as it was.
 */
export function nearMatches(document: string): Hostile[] {
  const lines = document.split('\n');
  const shapes = new Map(lines.map((line, index) => [shapeOf(line), index] as const).toReversed());
  const chosen = [...shapes.values()].toSorted((a, b) => a - b).slice(0, LINES);
  const around = (index: number, middle: string) =>
    [...lines.slice(0, index), middle, ...lines.slice(index + 1)].join('\n');
  const short = (text: string) => JSON.stringify(text.trim().slice(0, 30));
  return [
    again('the document again and again', `${document}\n`),
    ...chosen.flatMap((index): Hostile[] => {
      const line = lines[index]!;
      return [
        { title: `lines ${short(line)}`, text: (bytes) => around(index, repeated(`${line}\n`)(bytes)) },
        {
          title: `${short(line)} without line ends`,
          text: (bytes) => around(index, `${repeated(line)(bytes)}\u2028\0`),
        },
        ...turns(line).map((at): Hostile => ({
          title: `${short(line)} with ${JSON.stringify(line[at])} again and again at ${at}`,
          text: (bytes) => around(index, line.slice(0, at) + line[at]!.repeat(bytes) + line.slice(at)),
        })),
      ];
    }),
  ];
}

/** Where another kind of character begins, at most eight places. */
function turns(line: string): number[] {
  const kind = (character = '') =>
    /\s/.test(character) ? 0 : /\d/.test(character) ? 1 : /\w/.test(character) ? 2 : character;
  return line
    .slice(0, 120)
    .split('')
    .flatMap((character, at) => (kind(character) === kind(line[at - 1]) ? [] : [at]))
    .slice(0, 8);
}
