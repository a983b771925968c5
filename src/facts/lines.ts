/** Everything that ends a line for a regular expression: within a line, "." is any character and "$" its end. */
const LINE_END = /\r\n|[\n\r\u2028\u2029]/;

/**
 * The lines of what a tool printed. Tools are read line by line: a pattern that may go over line ends begins anew at
 * each of them, and a host that prints blank lines by the thousand would hold the Temporal worker for minutes.
 */
export const linesOf = (text: string): readonly string[] =>
  /[\r\u2028\u2029]/.test(text) ? text.split(LINE_END) : text.split('\n'); // Which is much quicker.

/** "  State: Active " → ["State", "Active"], by the first colon; undefined for a line without one. */
export function fieldOf(line: string): readonly [name: string, value: string] | undefined {
  const colon = line.indexOf(':');
  return colon < 0 ? undefined : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

/** The fields in these lines by name; of one that is there more than once the first that says something. */
export function fieldsIn(lines: readonly string[]): ReadonlyMap<string, string> {
  const fields = new Map<string, string>();
  for (const line of lines) {
    const [name, value] = fieldOf(line) ?? [];
    if (name !== undefined && value !== undefined && value !== '' && !fields.has(name)) fields.set(name, value);
  }
  return fields;
}

/** The lines from each head to the next one; what stands before the first head is in none. */
export function sectionsOf(
  lines: readonly string[],
  isHead: (line: string, index: number) => boolean,
): readonly (readonly string[])[] {
  const sections: string[][] = [];
  for (const [index, line] of lines.entries()) {
    if (isHead(line, index)) sections.push([line]);
    else sections.at(-1)?.push(line);
  }
  return sections;
}
