import { DeployError } from '../errors.ts';
import type { Host, LeaseOwner, Leases } from './types.ts';
import type { HeldLease } from '../plan/types.ts';
import { ending, raw, type Raw } from '../text/raw.ts';

const SHORT_MS = 30_000;
/** Exit codes of the scripts: the holder, or the reason, is on stdout. */
const HELD = 10;
const NO_FOLDER = 11;

/**
 * Puts one file per GPU there by ln, which fails when it exists and shows it whole: folder, what an own lease begins
 * with, addresses; the content is stdin. Those taken by this call go again when one is held by another.
 */
const TAKE = String.raw`
umask 022
folder=$1 own=$2
shift 2
if [ ! -d "$folder" ]; then
  mkdir -p -- "$folder" 2>/dev/null && chmod 2775 "$folder" || { id -gn; exit ${NO_FOLDER}; }
fi
cd -- "$folder" || { id -gn; exit ${NO_FOLDER}; }
aside=.aside.$$.$(od -An -N6 -tx1 /dev/urandom | tr -d " ")
trap 'rm -f -- "$aside"' EXIT
trap 'exit 143' TERM
cat >"$aside" || { id -gn; exit ${NO_FOLDER}; }
chmod 0664 "$aside"
taken=
for pci; do
  if ln -- "$aside" "$pci"; then
    taken="$taken $pci"
    continue
  fi
  if holder=$(cat -- "$pci" 2>/dev/null); then
    case $holder in "$own"*) continue ;; esac
  fi
  for mine in $taken; do rm -f -- "$mine"; done
  [ -e "$pci" ] || { id -gn; exit ${NO_FOLDER}; }
  printf "%s\n%s\n" "$pci" "$holder"
  exit ${HELD}
done
`;

/** Prints address and content of every lease, a line each: folder. */
const LIST = String.raw`
cd -- "$1" 2>/dev/null || { [ ! -e "$1" ]; exit; }
for pci in *; do
  [ -f "$pci" ] && printf "%s %s\n" "$pci" "$(head -c 4096 -- "$pci" | tr "\n" " ")"
done
exit 0
`;

/** Removes the leases that begin as an own one does: folder, that beginning, addresses. */
const RELEASE = String.raw`
cd -- "$1" 2>/dev/null || { [ ! -e "$1" ]; exit; }
own=$2 code=0
shift 2
for pci; do
  [ -e "$pci" ] || continue
  case $(cat -- "$pci") in "$own"*) rm -f -- "$pci" || code=1 ;; esac
done
exit $code
`;

/**
 * Removes leases of whoever holds them, when their content is still what was seen, and writes down each in the file
 * `.broken` before it goes: folder, what a line of this call begins with, then address and content in turn; the lines
 * are stdin. A repeat writes no line twice. Prints all lines of this call.
 */
const BREAK = String.raw`
umask 002
cd -- "$1" || exit 1
note=$2
shift 2
while [ $# -gt 1 ]; do
  IFS= read -r line || exit 1
  if [ -f "$1" ] && [ "$(head -c 4096 -- "$1" | tr "\n" " ")" = "$2" ]; then
    grep -qxF -e "$line" .broken 2>/dev/null || printf "%s\n" "$line" >>.broken || exit 1
    rm -f -- "$1" || exit 1
  fi
  shift 2
done
[ -e .broken ] || exit 0
while IFS= read -r line; do
  case $line in "$note"*) printf "%s\n" "$line" ;; esac
done <.broken
`;

/** GPU leases on one host, in `leaseDir`; a lease is a line of JSON. */
export function hostLeases(host: Host): Leases {
  const script = (text: string, args: readonly string[], stdin?: string) => runScript(host, text, args, stdin);
  const failed = (what: string, evidence: Raw) => unusable(host, what, evidence);

  return {
    list: async () => (await listed(host)).map(({ text: _text, ...lease }) => lease),

    async take(pci, owner) {
      // In address order whatever the caller's: of two sets that overlap, one is then taken whole.
      const addresses = checked(pci).toSorted();
      if (addresses.length === 0) return;
      const content = `${JSON.stringify({ ...ordered(owner), time: new Date().toISOString() })}\n`;
      const { cluster, installation } = owner; // An own lease of an earlier deployment counts as taken.
      const args = [beginning({ cluster, installation }), ...addresses];
      const { stdout, stderr, exitCode } = await script(TAKE, args, content);
      if (exitCode === HELD) {
        const [address = '', holder = ''] = stdout.split('\n');
        throw held(host, address, parse(holder));
      }
      if (exitCode === NO_FOLDER)
        throw folderMissing(host, await host.expand(host.ref.leaseDir), stdout.trim(), stderr);
      if (exitCode !== 0) throw failed('taken', stderr);
    },

    async release(pci, owner) {
      const addresses = checked(pci);
      if (addresses.length === 0) return;
      const { stderr, exitCode } = await script(RELEASE, [beginning(owner), ...addresses]);
      if (exitCode !== 0) throw failed('released', stderr);
    },

    async breakHeld(seen, { time, actor, reason }) {
      const going = (await listed(host)).filter((lease) => seen.some((one) => isSame(one, lease)));
      const note = `${JSON.stringify({ time, actor, reason }).slice(0, -1)},"lease":`;
      const lines = going.map(({ text: _text, ...lease }) => `${note}${JSON.stringify(lease)}}\n`);
      const args = going.flatMap(({ pci, text }) => [pci, text]);
      const { stdout, stderr, exitCode } = await script(BREAK, [note, ...args], lines.join(''));
      if (exitCode !== 0) throw failed('broken', stderr);
      return stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as { lease: HeldLease }).lease);
    },
  };
}

const isSame = (a: HeldLease, b: HeldLease): boolean =>
  a.pci === b.pci &&
  a.cluster === b.cluster &&
  a.installation === b.installation &&
  a.deployment === b.deployment &&
  a.takenAt === b.takenAt;

/** Most leases of a host: sixteen GPUs in 64 partitions each are a quarter of it. */
const LEASES_LIMIT = 4_096;

/** Every lease with what its file holds, line ends as blanks. */
async function listed(host: Host): Promise<readonly (HeldLease & { readonly text: string })[]> {
  const { stdout, stderr, exitCode } = await runScript(host, LIST, []);
  if (exitCode !== 0) throw unusable(host, 'read', stderr);
  const lines = stdout.split('\n').filter((line) => line !== '');
  if (lines.length > LEASES_LIMIT) {
    throw unusable(host, 'read', raw(`${lines.length} leases are listed, at most ${LEASES_LIMIT} are read`));
  }
  return lines.map((line) => {
    const space = line.indexOf(' ');
    const text = line.slice(space + 1);
    return { pci: line.slice(0, space), ...parse(text), text };
  });
}

const runScript = async (host: Host, text: string, args: readonly string[], stdin?: string) =>
  host.run({
    argv: ['sh', '-c', text, 'sh', await host.expand(host.ref.leaseDir), ...args],
    timeoutMs: SHORT_MS,
    ...(stdin === undefined ? {} : { stdin }),
  });

function unusable({ ref: { name, leaseDir, user } }: Host, what: string, evidence: Raw): DeployError {
  return new DeployError({
    code: 'COMMAND_FAILED',
    message: `${name}: the leases in ${leaseDir} could not be ${what}`,
    remedy: `Check on ${name} that ${user} may read and write ${leaseDir}.`,
    retryable: false,
    host: name,
    evidence: ending(evidence),
  });
}

type Owner = Parameters<Leases['release']>[1];

const ordered = ({ cluster, installation, deployment }: LeaseOwner) => ({ cluster, installation, deployment });

/** What a lease of this owner begins with; without a number that of any of its deployments. */
function beginning({ cluster, installation, deployment }: Owner): string {
  const text = JSON.stringify({ cluster, installation, ...(deployment === undefined ? {} : { deployment }) });
  return `${text.slice(0, -1)},`;
}

function parse(text: string): LeaseOwner & { readonly takenAt: string } {
  try {
    const { cluster, installation, deployment, time } = JSON.parse(text) as Record<string, unknown>;
    if (isName(cluster) && isName(installation) && typeof deployment === 'number') {
      return { cluster, installation, deployment, takenAt: typeof time === 'string' ? time : 'unknown' };
    }
  } catch {
    // Not ours to read: it holds the GPU all the same.
  }
  return { cluster: 'unknown', installation: 'unknown', deployment: 0, takenAt: 'unknown' };
}

/** A name that Temporal's database takes, too: anybody may have written the file. */
const isName = (value: unknown): value is string => typeof value === 'string' && value.length <= 100;

/** Addresses become file names. */
function checked(pci: readonly string[]): readonly string[] {
  const wrong = pci.find((address) => !/^[0-9A-Za-z][0-9A-Za-z:._-]*$/.test(address));
  if (wrong !== undefined) throw new TypeError(`not a PCI address: ${JSON.stringify(wrong)}`);
  return pci;
}

function held(host: Host, pci: string, holder: ReturnType<typeof parse>): DeployError {
  const { name } = host.ref;
  return new DeployError({
    code: 'LEASE_HELD',
    message: `${name}: GPU ${pci} is leased by cluster ${holder.cluster}, deployment ${holder.deployment} of installation ${holder.installation}, since ${holder.takenAt}`,
    remedy: `Use other GPUs, destroy that cluster, or if it is gone for good: \`tandem lease break FILE --host ${name} --pci ${pci} --reason TEXT\`.`,
    retryable: false,
    host: name,
  });
}

function folderMissing(host: Host, folder: string, group: string, evidence: Raw): DeployError {
  const { name, user } = host.ref;
  return new DeployError({
    code: 'LEASE_DIR_MISSING',
    message: `${name}: the lease folder ${folder} is missing and cannot be made, or ${user} may not write there`,
    remedy: `Let an administrator run once on ${name}: sudo install -d -m 2775 -g ${group || user} ${folder}`,
    retryable: false,
    host: name,
    evidence: ending(evidence),
  });
}
