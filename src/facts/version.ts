import semver from 'semver';

/**
 * Whether a version lies in a range of the spec. Versions of drivers have two to four parts and builds behind them
 * ("6.10", "24.6.2.0", "6.2.0-66"), so they are coerced; the fourth part counts. False for what is no version.
 */
export function satisfies(version: string, range: string): boolean {
  const parts = /^\D*?(\d+(?:\.\d+)*)/.exec(version.trim())?.[1]?.split('.');
  if (!parts) return false;
  const full = [...parts, '0', '0', '0', '0'].slice(0, 4).join('.');
  const folded = range.replace(/\d+(?:\.\d+)*/g, (text) => fold(text));
  return semver.satisfies(fold(full), folded.replace(/([<>=~^])\s+/g, '$1'));
}

/** semver knows three parts: "6.2.1.7" becomes 6.2.100007, "6.2.1" 6.2.100000, "6.2" stays open as it is. */
function fold(text: string): string {
  const [major, minor, patch, build] = text.split('.').map(Number);
  if (patch === undefined) return minor === undefined ? String(major) : `${major}.${minor}`;
  return `${major}.${minor}.${patch * 100_000 + Math.min(build ?? 0, 99_999)}`;
}
