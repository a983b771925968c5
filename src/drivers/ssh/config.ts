import { homedir } from 'node:os';
import { DeployError } from '../../errors.ts';
import type { HostRef } from '../../plan/types.ts';

/** Name that ssh is given for the host, unless the spec names an ssh_config, whose patterns want the real address. */
const TARGET = 'tandem-target';

/** The files from which ssh knows all about a host and its bastions, and the name to call the host by. */
export interface SshConfig {
  readonly target: string;
  readonly config: string;
  readonly knownHosts: string;
}

/**
 * An ssh_config of our own for one host: nothing is read from ~/.ssh/config unless the spec says so, so the same spec
 * means the same everywhere; each bastion has its own user, key and host key; host keys are always verified.
 * Errors: SPEC_INVALID for a value that an ssh_config cannot hold.
 */
export function sshConfig(ref: HostRef, { knownHostsPath, connectTimeoutSeconds }: SshConfigOptions): SshConfig {
  const { ssh } = ref;
  const target = ssh.configFile === undefined ? TARGET : ref.address;
  const jumps = ssh.jump.map((jump, index) => ({ ...jump, alias: `tandem-jump-${index}` }));
  const keys: string[] = [];
  const block = (alias: string, at: Login, jump: string | undefined) => {
    const identityFile = at.identityFile ?? ssh.identityFile;
    const lines = [
      `Host ${bare(alias)}`,
      `HostName ${bare(at.address)}`,
      `Port ${at.port}`,
      `User ${value(at.user)}`,
      ...(identityFile === undefined ? [] : [`IdentityFile ${path(identityFile)}`, 'IdentitiesOnly yes']),
      ...(jump === undefined ? [] : [`ProxyJump ${jump}`]),
    ];
    if (at.hostKey === undefined) lines.push(`UserKnownHostsFile ${path(ssh.knownHostsFile)}`);
    else {
      const name = `tandem-key-${keys.length}`;
      keys.push(`${name} ${hostKey(at.hostKey)}`);
      lines.push(`HostKeyAlias ${name}`, `UserKnownHostsFile ${path(knownHostsPath)}`);
    }
    return lines.join('\n  ');
  };
  const chain = [...jumps.map(({ alias }) => alias), undefined];
  const config = [
    ...jumps.map((jump, index) => block(jump.alias, jump, chain[index - 1])),
    block(target, ref, chain[jumps.length - 1]),
    ['Host *', ...COMMON, `ConnectTimeout ${connectTimeoutSeconds}`].join('\n  '),
    ...(ssh.configFile === undefined ? [] : [`Include ${path(ssh.configFile)}`]),
  ];
  return { target, config: `${config.join('\n')}\n`, knownHosts: keys.map((key) => `${key}\n`).join('') };
}

export interface SshConfigOptions {
  /** Where `knownHosts` will be written. */
  readonly knownHostsPath: string;
  readonly connectTimeoutSeconds: number;
}

interface Login {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly identityFile?: string | undefined;
  readonly hostKey?: string | undefined;
}

const COMMON = [
  'BatchMode yes',
  'StrictHostKeyChecking yes',
  'GlobalKnownHostsFile /dev/null',
  'UpdateHostKeys no',
  'CheckHostIP no',
  'ForwardAgent no',
  'ForwardX11 no',
  'RequestTTY no',
  'EscapeChar none',
  // A silent cut is noticed after 45 s.
  'ServerAliveInterval 15',
  'ServerAliveCountMax 3',
  'StreamLocalBindUnlink yes',
  'StreamLocalBindMask 0177',
];

/** "~/x" on this machine. */
export const localPath = (file: string): string => (/^~(?=\/|$)/.test(file) ? homedir() + file.slice(1) : file);

const path = (file: string) => value(localPath(file).replaceAll('%', '%%'));

function value(text: string): string {
  if (/["\n\r]|\$\{/.test(text)) throw refused(text);
  return `"${text}"`;
}

function bare(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(text)) throw refused(text);
  return text;
}

function hostKey(text: string): string {
  const [, key] = /^([a-z0-9@.-]+ [A-Za-z0-9+/=]+)(?: [^\n]*)?$/.exec(text.trim()) ?? [];
  if (key === undefined) throw refused(text);
  return key;
}

const refused = (text: string) =>
  new DeployError({
    code: 'SPEC_INVALID',
    message: `hosts: ssh cannot be configured with ${JSON.stringify(text)}`,
    remedy:
      'Addresses are names or IP addresses, paths and users hold no quotes, line breaks or ${, and a hostKey is "ssh-ed25519 AAAA…".',
    retryable: false,
  });
