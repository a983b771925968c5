import { existsSync } from 'node:fs';

/**
 * Stand-ins for login shells that are no POSIX shell. They greet on both streams, as people's login files do, and refuse
 * what csh and fish read otherwise than sh: outside single quotes anything but plain words and double quotes, inside
 * them `!`, line breaks (csh) and backslashes (fish).
 */
const standIn = (inside: string) => `#!/bin/sh
echo "Welcome! It is a fine day."
echo "warning: something of the login files" >&2
outside=$(printf "%s" "$2" | tr "\\n" ";" | sed "s/'[^']*'//g")
case $outside in *[!A-Za-z0-9\\ /.\\"-]*) echo "syntax error: $outside" >&2; exit 1 ;; esac
case $2 in ${inside}) echo "syntax error" >&2; exit 1 ;; esac
exec /bin/sh -c "$2"
`;

export const STAND_INS = {
  'csh-like': standIn(`*!* | *"\n"*`),
  'fish-like': standIn(`*\\\\*`),
} as const;

/** Login shells of this machine by their path, and where they are missing, undefined. */
export const REAL_SHELLS: readonly (readonly [name: string, path: string | undefined])[] = [
  ['tcsh', '/usr/bin/tcsh'],
  ['fish', '/usr/bin/fish'],
].map(([name, path]) => [name!, existsSync(path!) ? path : undefined] as const);
