import { DeployError } from '../../errors.ts';

/**
 * Quoting for /bin/sh, the only shell that ever reads it: such text is run by the runner, which our constant command
 * line starts, or by the `run` file of a named job; a login shell never sees it.
 */
export function quote(value: string): string {
  if (value.includes('\0')) {
    // Not shown: it may be a secret.
    throw refused(
      `a value of ${value.length} characters holds a NUL byte at ${value.indexOf('\0')}, which no program can be given`,
    );
  }
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** One line of sh that sets the environment. Errors: SPEC_INVALID for a name that a shell cannot export. */
export function exports(env: Readonly<Record<string, string>>): string {
  return Object.entries(env)
    .map(([name, value]) => {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw refused(`environment variable ${JSON.stringify(name)}`);
      return `export ${name}=${quote(value)}`;
    })
    .join('\n');
}

const refused = (what: string) =>
  new DeployError({
    code: 'SPEC_INVALID',
    message: `Cannot be passed to a command on a host: ${what}`,
    remedy: 'Names of environment variables are letters, digits and _, and no value holds a NUL byte.',
    retryable: false,
  });
