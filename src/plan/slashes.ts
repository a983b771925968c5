/** "/models/" → "/models", "http://r:1//" → "http://r:1"; a lone "/" stays. */
export function withoutEndSlashes(text: string): string {
  let end = text.length;
  while (end > 1 && text[end - 1] === '/') end -= 1;
  return text.slice(0, end);
}
