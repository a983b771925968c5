import { visible } from './visible.ts';

/**
 * Text as Markdown shows it and never acts on it: a code span, in which there are no links, images, headings, HTML or
 * mentions, fenced by more backticks than it holds. Its line breaks become blanks, since an empty line would end it.
 */
export function code(text: string): string {
  const line = visible(text).replaceAll(/\s+/g, ' ').trim();
  if (line === '') return '';
  const runs = line.match(/`+/g) ?? [];
  const fence = '`'.repeat(Math.max(0, ...runs.map(({ length }) => length)) + 1);
  const room = line.startsWith('`') || line.endsWith('`') ? ' ' : '';
  return `${fence}${room}${line}${room}${fence}`;
}

/** As `code`, in a cell of a table: there a bar ends the cell even in a code span, and a backslash before it may stand for itself. */
export const codeCell = (text: string): string => code(text).replaceAll('|', '│');
