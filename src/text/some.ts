/** The first rows, and where there are more a last one that says how many: "and 3 more". */
export const someRows = (rows: readonly string[], most: number): readonly string[] =>
  rows.length > most ? [...rows.slice(0, most), `and ${rows.length - most} more`] : rows;

/** The same in one text: "a, b, c and 2 more". */
export const someText = (texts: readonly (string | number)[], most: number, between = ', '): string => {
  const first = texts.slice(0, most).join(between);
  return texts.length > most ? `${first} and ${texts.length - most} more` : first;
};
