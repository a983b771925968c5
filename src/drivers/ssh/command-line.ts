/**
 * The command lines that a host's login shell reads: constants, so that no value ever meets a shell we do not know. Each
 * is one line without `!`, backslash or inner single quote, which sh, bash, csh and fish read alike. It starts /bin/sh,
 * drops what precedes the magic line (a password that sudo did not ask for) and runs the program in the line after it;
 * a line that broke off is not run.
 */
const BOOTSTRAP =
  'tandem_path=$PATH; PATH=$PATH:/usr/bin:/bin; ' +
  'while IFS= read -r tandem_l; do [ "$tandem_l" = TANDEM-FRAME-1 ] && break; done; ' +
  'IFS= read -r tandem_l && eval "$(echo "$tandem_l" | base64 -d)"';

export const MAGIC_LINE = 'TANDEM-FRAME-1';

export const COMMAND_LINES = {
  none: `exec /bin/sh -c '${BOOTSTRAP}'`,
  /** Runner and watcher run inside sudo, since a user cannot end root's processes. */
  sudo: `exec sudo -n /bin/sh -c '${BOOTSTRAP}'`,
  /** The password is the line before the magic line. */
  sudoPassword: `exec sudo -k -S -p "" /bin/sh -c '${BOOTSTRAP}'`,
} as const;

/** How a frame becomes another user. */
export type Become = keyof typeof COMMAND_LINES;
