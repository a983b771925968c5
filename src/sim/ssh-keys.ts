import ssh2 from 'ssh2';

export interface SshKeyPair {
  /** In OpenSSH's format. */
  readonly private: string;
  /** "ssh-ed25519 AAAA…" */
  readonly public: string;
}

/** A new key pair. ssh2 1.17 makes a private key that nobody can read a few times in a thousand: such a one is made anew. */
export function newKeyPair(): SshKeyPair {
  for (;;) {
    const made = ssh2.utils.generateKeyPairSync('ed25519');
    if (!(ssh2.utils.parseKey(made.private) instanceof Error)) return made;
  }
}
