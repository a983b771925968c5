import { DeployError } from '../../errors.ts';
import type { HostRef } from '../../plan/types.ts';
import { ending, raw, type Raw } from '../../text/raw.ts';

/** Why ssh could not connect, from what it printed. `retryable` also says that a short wait may help. */
export function connectFailure(ref: HostRef, stderr: Raw): DeployError {
  const evidence = ending(stderr);
  const at = place(ref);
  if (/host key verification failed|host identification has changed|no \S{1,40} host key is known/i.test(stderr)) {
    return new DeployError({
      code: 'HOST_KEY_MISMATCH',
      message: `${at} showed a host key that is unknown or not the expected one`,
      remedy: `Run "tandem hosts trust FILE", compare the fingerprint with the host's own, and put hostKey of ${ref.name} right.`,
      retryable: false,
      host: ref.name,
      evidence,
    });
  }
  if (/permission denied|too many authentication failures|no supported authentication methods/i.test(stderr)) {
    return loginRefused(ref, evidence, 'the login');
  }
  return unreachable(ref, evidence || raw('ssh ended without a word'));
}

/** The host refused the login or the privilege change. */
export const loginRefused = (ref: HostRef, evidence: Raw, what: string) =>
  new DeployError({
    code: 'HOST_LOGIN_REFUSED',
    message: `${place(ref)} refused ${what} of user ${ref.user}`,
    remedy:
      ref.ssh.become === 'sudo'
        ? `Check that ${ref.user} may log in with the key and run "sudo -n true" there, or set hosts.ssh.becomePassword.`
        : `Check that the key ${ref.ssh.identityFile ?? 'of the SSH agent'} is in authorized_keys of ${ref.user} on ${ref.name}.`,
    retryable: false,
    host: ref.name,
    evidence,
  });

/** The connection could not be made or was lost. */
export const unreachable = (ref: HostRef, evidence: Raw, what = 'cannot be reached by SSH') =>
  new DeployError({
    code: 'HOST_UNREACHABLE',
    message: `${place(ref)} ${what}`,
    remedy: `Check that ${ref.name} is up and that this machine reaches it${bastions(ref)}.`,
    retryable: true,
    host: ref.name,
    evidence,
  });

/**
 * A fresh connection that sshd drops unheard, as it does beyond MaxStartups: a short wait helps. Not one that hears
 * nothing until its limit: there a call would wait for the limit again and again.
 */
export const isReset = (stderr: string): boolean =>
  !/timed out/i.test(stderr) &&
  /reset by peer|connection closed by|kex_exchange_identification|broken pipe|banner exchange/i.test(stderr);

const place = ({ name, user, address, port }: HostRef) => `${name} (${user}@${address}:${port})`;
const bastions = ({ ssh }: HostRef) =>
  ssh.jump.length === 0 ? '' : ` through ${ssh.jump.map(({ address }) => address).join(', ')}`;
