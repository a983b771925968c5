import type { Fact } from './fact.ts';
import { whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/** A provider library of libibverbs: the part that knows one make of NIC. */
export interface ProviderLibrary {
  /** "bnxt_re", as in libbnxt_re-rdmav34.so. */
  readonly driver: string;
  readonly path: string;
}

/** Where distributions put them. Source: file lists of the ibverbs-providers, libibverbs and rdma-core packages. */
const FOLDERS = [
  '/usr/lib/x86_64-linux-gnu/libibverbs',
  '/usr/lib64/libibverbs',
  '/usr/lib/libibverbs',
  '/usr/local/lib/libibverbs',
  '/usr/local/lib64/libibverbs',
];

/** Provider libraries on the host; `extra` is a path that the spec names. A folder that is missing is no error. */
export const providerLibraries: Fact<readonly ProviderLibrary[], [extra?: string]> = {
  name: 'provider-libraries',
  command: (extra) => [
    'find',
    '-L',
    ...FOLDERS,
    ...(extra === undefined ? [] : [extra]),
    '-maxdepth',
    '1',
    '-name',
    'lib*.so*',
  ],
  timeoutMs: 10_000,
  parse(output) {
    const paths = linesOf(output.stdout).map((line) => line.trim());
    const libraries = paths.flatMap((path) => {
      const driver = /^lib([a-z0-9_]+)(?:-rdmav\d+)?\.so[.\d]*$/.exec(path.slice(path.lastIndexOf('/') + 1))?.[1];
      return driver === undefined || !path.startsWith('/') ? [] : [{ driver, path }];
    });
    const silent = linesOf(output.stderr).every((line) => line.trim() === '' || /No such file/.test(line));
    if (libraries.length === 0 && !(silent && output.exitCode <= 1)) throw new SyntaxError(whyNothing('find', output));
    return libraries.toSorted((one, other) => one.path.localeCompare(other.path));
  },
};
