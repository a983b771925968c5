import type { PictureScope } from '../facts/host-picture.ts';

/** The scope with every path as the host knows it. */
export interface Places extends PictureScope {
  readonly stateDir: string;
  readonly leaseDir: string;
}

/**
 * Prints what may be a cluster's on a host, as rows "kind<TAB>…"; who reads them decides whose they are. Arguments:
 * stateDir, path of the weights, leaseDir, cluster, a regular expression of telling arguments. Only own processes are
 * looked at, since only those can be Tandem's: all programs run as one user. Files of /proc are named relative to it.
 */
export const LOOK = String.raw`
state=$1 model=$2 leases=$3 cluster=$4 words=$5
for tool in cat dirname find grep tr; do
  command -v "$tool" >/dev/null || { echo "the program $tool is needed" >&2; exit 1; }
done
row() { printf "%s\t" "$@"; echo; }

if [ -e "$state/jobs" ]; then
  cd -- "$state/jobs" && [ -r . ] || exit 1
  for each in * .[!.]*; do
    [ -d "$each" ] || continue
    labels=
    IFS= read -r labels 2>/dev/null <"$each/labels"
    row job "$each" "$labels"
    turn=0
    while [ -d "$each/$turn" ]; do
      pid= start= boot=
      read -r pid start boot 2>/dev/null <"$each/$turn/pid"
      row turn "$pid" "$start" "$boot"
      turn=$((turn + 1))
    done
  done
fi

if [ -e "$state/deployments" ]; then
  cd -- "$state/deployments" && [ -r . ] || exit 1
  for each in "$cluster"-*; do
    [ -d "$each" ] || continue
    find "$each" "(" -type d -printf "file\t%p/\n" ")" -o -printf "file\t%p\n" || exit 1
  done
fi

if [ -e "$leases" ]; then
  cd -- "$leases" && [ -r . ] || exit 1
  for each in .aside.*; do
    [ -f "$each" ] || continue
    content=
    IFS= read -r content 2>/dev/null <"$each"
    row aside "$each" "$content"
  done
fi

folder=$(dirname -- "$model")
[ ! -e "$folder" ] || [ -r "$folder" ] || { echo "$folder cannot be read" >&2; exit 1; }
for each in "$model.partial-$cluster-"*; do
  [ -e "$each" ] || continue
  row partial "$each"
  # The copy died between its last two steps: the weights have their place, and no mark.
  [ -e "$each/complete.json" ] && [ ! -e "$each/files" ] && [ -d "$model" ] &&
    [ ! -e "$model/.tandem-complete.json" ] && row unmarked "$each"
done

# Frames of the ssh driver that have not ended: the process group of each command, and when it began.
for each in /dev/shm/tandem-*/p.* "$TMPDIR"/tandem-*/p.* /tmp/tandem-*/p.* "$HOME"/tandem-*/p.*; do
  [ -e "$each" ] || continue
  read -r group began 2>/dev/null <"$each" && row frame "$group" "$began"
done

cd /proc || exit 1
read -r boot <sys/kernel/random/boot_id || exit 1
row boot "$boot"
while read -r device point rest; do row mount "$point"; done <self/mounts
stats= links= lines= homes=
for each in [0-9]*; do
  [ -O "$each" ] || continue
  stats="$stats $each/stat" lines="$lines $each/cmdline" homes="$homes $each/environ"
  links="$links $each/cwd $each/fd/1 $each/fd/2"
done
# Some of them end meanwhile, which is no failure.
cat $stats 2>/dev/null
find $links -maxdepth 0 "(" -lname "$state/*" -o -lname "$model.partial-*" ")" -printf "link\t%p\t%l\n" 2>/dev/null
grep -a -s -z -x -o -H -E -e "$words" -- $lines | tr "\0" "\n"
grep -a -s -z -x -l -F -e "HOME=$HOME" -- $homes
exit 0
`;

/**
 * Arguments of programs that tell whose they are: names and folders of the cluster's units and deployments, its copies,
 * its leases; and the one that all programs of the ssh driver have.
 */
export function wordsOf({ stateDir, modelPath, cluster, installation }: Omit<Places, 'ports' | 'images'>): string {
  const state = literal(stateDir);
  const unit = `tandem-${cluster}-(prefill|decode|router|weights)-[0-9]+-[0-9]+`;
  return [
    `(${state}/jobs/)?${unit}(/.*)?`,
    `${state}/deployments/${cluster}-[0-9]+(/.*)?`,
    `${literal(modelPath)}\\.partial-${cluster}-[0-9]+-${literal(installation)}(/.*)?`,
    `${literal(JSON.stringify({ cluster, installation }).slice(0, -1))},.*`,
    'tandem_path=.*TANDEM-FRAME-1.*',
  ]
    .map((word) => `(${word})`)
    .join('|');
}

/** The text as an extended regular expression that matches just it. */
const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');

/** The deployment in the name of a unit of this cluster, also of a half-made or half-removed job's folder. */
export function unitNumber(cluster: string, name: string): number | undefined {
  const begin = `tandem-${cluster}-`;
  const rest = name.replace(/^\./, '').replace(/(\.gone)?\.\d+$/, '');
  const [, number] = (rest.startsWith(begin) && UNIT_END.exec(rest.slice(begin.length))) || [];
  return number === undefined ? undefined : Number(number);
}
const UNIT_END = /^(?:prefill|decode|router|weights)-\d+-(\d+)$/;

/** The number between two texts, where a text is just that. */
export function numberAfter(begin: string, text: string, end: string): number | undefined {
  const middle = text.startsWith(begin) && text.endsWith(end) ? text.slice(begin.length, text.length - end.length) : '';
  return /^\d+$/.test(middle) ? Number(middle) : undefined;
}
