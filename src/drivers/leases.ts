import { DeployError } from '../errors.ts';
import type { Host, LeaseOwner, Leases } from './types.ts';

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

/** GPU leases on one host, in `leaseDir`; a lease is a line of JSON. */
export function hostLeases(host: Host): Leases {
  const { name, leaseDir, user } = host.ref;
  const script = async (text: string, args: readonly string[], stdin?: string) =>
    host.run({
      argv: ['sh', '-c', text, 'sh', await host.expand(leaseDir), ...args],
      timeoutMs: SHORT_MS,
      ...(stdin === undefined ? {} : { stdin }),
    });
  const failed = (what: string, evidence: string) =>
    new DeployError({
      code: 'COMMAND_FAILED',
      message: `${name}: the leases in ${leaseDir} could not be ${what}`,
      remedy: `Check on ${name} that ${user} may read and write ${leaseDir}.`,
      retryable: false,
      host: name,
      evidence,
    });

  return {
    async list() {
      const { stdout, stderr, exitCode } = await script(LIST, []);
      if (exitCode !== 0) throw failed('read', stderr);
      return stdout
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => {
          const space = line.indexOf(' ');
          return { pci: line.slice(0, space), ...parse(line.slice(space + 1)) };
        });
    },

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
      if (exitCode === NO_FOLDER) throw folderMissing(host, await host.expand(leaseDir), stdout.trim(), stderr);
      if (exitCode !== 0) throw failed('taken', stderr);
    },

    async release(pci, owner) {
      const addresses = checked(pci);
      if (addresses.length === 0) return;
      const { stderr, exitCode } = await script(RELEASE, [beginning(owner), ...addresses]);
      if (exitCode !== 0) throw failed('released', stderr);
    },
  };
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
    if (typeof cluster === 'string' && typeof installation === 'string' && typeof deployment === 'number') {
      return { cluster, installation, deployment, takenAt: typeof time === 'string' ? time : 'unknown' };
    }
  } catch {
    // Not ours to read: it holds the GPU all the same.
  }
  return { cluster: 'unknown', installation: 'unknown', deployment: 0, takenAt: 'unknown' };
}

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
    remedy: `Use other GPUs, destroy that cluster, or if it is gone for good: tandem lease break (${host.ref.leaseDir}/${pci} on ${name}).`,
    retryable: false,
    host: name,
  });
}

function folderMissing(host: Host, folder: string, group: string, evidence: string): DeployError {
  const { name, user } = host.ref;
  return new DeployError({
    code: 'LEASE_DIR_MISSING',
    message: `${name}: the lease folder ${folder} is missing and cannot be made, or ${user} may not write there`,
    remedy: `Let an administrator run once on ${name}: sudo install -d -m 2775 -g ${group || user} ${folder}`,
    retryable: false,
    host: name,
    evidence,
  });
}
