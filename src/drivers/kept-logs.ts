import { DeployError } from '../errors.ts';
import { ending, type Raw } from '../text/raw.ts';
import { isName, named } from './jobs.ts';
import { lastLines } from './last-lines.ts';
import { numberAfter } from './picture-look.ts';
import type { Host, KeptLog, KeptLogs, LoggedUnit, Output } from './types.ts';

const SHORT_MS = 30_000;
const LONGEST_MS = 120_000;
/** What a host keeps: of so many deployments, and so many bytes. */
const DEPLOYMENTS = 10;
const BYTES = 50 * 1024 * 1024;

/**
 * Puts stdin whole in its place and deletes what is beyond the limits, oldest first: folder of all logs, folder of the
 * deployment, name. A folder that another call has just made is empty for a moment, so only those go whose last log went.
 */
const KEEP = String.raw`
umask 077
mkdir -p -- "$1/$2" && cd -- "$1" || exit 1
aside=$2/.$3.$$
trap 'rm -f -- "$aside"' EXIT
trap 'exit 143' TERM
cat >"$aside" && mv -fT -- "$aside" "$2/$3.log" || exit 1
find . -mindepth 2 -maxdepth 2 -type f -printf "%T@ %s %P\n" | sort -rn | {
  seen= deployments=0 bytes=0
  while read -r time size file; do
    folder=${'$'}{file%/*}
    case "$seen " in *" $folder "*) ;; *) seen="$seen $folder" deployments=$((deployments + 1)) ;; esac
    bytes=$((bytes + size))
    [ $deployments -le ${DEPLOYMENTS} ] && [ $bytes -le ${BYTES} ] && continue
    rm -f -- "$file"
    rmdir -- "$folder" 2>/dev/null
  done
  exit 0
}
`;

/** Prints the files of all clusters as "bytes<TAB>cluster-deployment/unit.log": the folder of all logs. */
export const LIST = String.raw`
[ ! -e "$1" ] || find "$1" -mindepth 2 -maxdepth 2 -type f -printf "%s\t%P\n"
`;

const DROP = String.raw`
cd -- "$1" 2>/dev/null || { [ ! -e "$1" ]; exit; }
for each in "$2"-*; do
  case ${'$'}{each#"$2"-} in *[!0-9]*) continue ;; esac
  rm -rf -- "$each" || exit 1
done
`;

/** Logs that outlive their units on one host, in `stateDir/logs/<cluster>-<deployment>/<unit>.log` (0600). */
export function hostKeptLogs(host: Host): KeptLogs {
  const folder = () => host.expand(`${host.ref.stateDir}/logs`);
  const must = async (what: string, asked: Promise<Output>): Promise<Output> => {
    const output = await asked;
    if (output.exitCode !== 0) throw unusable(host, what, output.stderr);
    return output;
  };
  const script = async (text: string, args: readonly string[], stdin?: string) =>
    host.run({
      argv: ['sh', '-c', text, 'sh', await folder(), ...args],
      ...(stdin === undefined ? { timeoutMs: SHORT_MS } : { timeoutMs: LONGEST_MS, stdin }),
    });

  return {
    async keep(unit, text) {
      await must('kept', script(KEEP, [deploymentOf(unit), named(unit.name)], text));
      return pathOf(await folder(), unit);
    },

    async list(cluster) {
      const { stdout } = await must('listed', script(LIST, []));
      return keptIn(stdout, await folder(), cluster).flatMap(({ file, ...log }) => {
        const name = file.slice(0, -SUFFIX.length);
        return file.endsWith(SUFFIX) && isName(name) ? [{ ...log, cluster, name }] : [];
      });
    },

    async read(unit, { tailLines }) {
      const path = pathOf(await folder(), unit);
      return await lastLines(tailLines, (lines) =>
        must('read', host.run({ argv: ['tail', '-n', String(lines), '--', path], timeoutMs: SHORT_MS })),
      );
    },

    async drop(cluster) {
      await must('deleted', script(DROP, [named(cluster)]));
    },
  };
}

/** The files of one cluster in what `LIST` prints: logs, and what a call that was cut off left of one. */
export function keptIn(
  text: string,
  folder: string,
  cluster: string,
): (Pick<KeptLog, 'deployment' | 'path' | 'bytes'> & { readonly file: string })[] {
  return text.split('\n').flatMap((line) => {
    const [bytes, path = ''] = line.split('\t');
    const [directory, file = ''] = path.split('/');
    const deployment = numberAfter(`${cluster}-`, directory!, '');
    if (deployment === undefined) return [];
    return [{ deployment, file, path: `${folder}/${path}`, bytes: Number(bytes) }];
  });
}

const SUFFIX = '.log';
const deploymentOf = ({ cluster, deployment }: LoggedUnit) => `${named(cluster)}-${deployment}`;
const pathOf = (folder: string, unit: LoggedUnit) => `${folder}/${deploymentOf(unit)}/${named(unit.name)}${SUFFIX}`;

function unusable({ ref: { name, stateDir, user } }: Host, what: string, evidence: Raw): DeployError {
  return new DeployError({
    code: 'COMMAND_FAILED',
    message: `${name}: logs in ${stateDir}/logs could not be ${what}`,
    remedy: `Check on ${name} that ${user} may read and write ${stateDir}/logs and that there is space.`,
    retryable: false,
    host: name,
    evidence: ending(evidence),
  });
}
