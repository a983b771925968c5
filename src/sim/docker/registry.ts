import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { engineOf, type DockerCall, type DockerHost, type Run } from './call.ts';
import { daemonError, DockerError } from './command.ts';
import { needRegistry, parseReference } from './images.ts';

/** docker pull */
export async function pull(it: Run): Promise<number> {
  const { host, call, flags, config } = it;
  const text = flags.words[0]!;
  const pulled = await engineOf(it, 'images/create').pull(text, {
    auths: authsOf(host, call, config),
    signal: call.signal,
  });
  const asked = parseReference(text)!;
  const canonical = `${asked.registry === 'docker.io' ? `docker.io/${asked.familiar.includes('/') ? '' : 'library/'}` : ''}${asked.familiar}${asked.digest === undefined ? `:${asked.tag}` : `@${asked.digest}`}`;
  if (flags.has('quiet')) call.stdout(`${canonical}\n`);
  else
    call.stdout(
      `${/[:@]/.test(text.split('/').at(-1)!) ? '' : 'Using default tag: latest\n'}${pullText(text, pulled)}${canonical}\n`,
    );
  return 0;
}

/** What the client prints of a pull. */
export function pullText(
  text: string,
  { fresh, digest }: { readonly fresh: boolean; readonly digest: string },
): string {
  const asked = parseReference(text)!;
  const name = `${asked.familiar}${asked.digest === undefined ? `:${asked.tag}` : `@${asked.digest}`}`;
  return `${asked.digest ?? asked.tag}: Pulling from ${asked.familiar}\nDigest: ${digest}\nStatus: ${fresh ? 'Downloaded newer image for' : 'Image is up to date for'} ${name}\n`;
}

const HUB = 'https://index.docker.io/v1/';

function configFile(host: DockerHost, { env }: DockerCall, config: string | undefined): string {
  return host.resolvePath(join(config ?? env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? '/', '.docker'), 'config.json'));
}

function readAuths(file: string): Record<string, { auth: string }> {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { auths?: Record<string, { auth: string }> }).auths ?? {};
  } catch {
    return {};
  }
}

/** The client's logins, by registry. */
export function authsOf(host: DockerHost, call: DockerCall, config: string | undefined) {
  const rows = Object.entries(readAuths(configFile(host, call, config))).map(([registry, { auth }]) => {
    const [user = '', ...password] = Buffer.from(auth, 'base64').toString().split(':');
    return [registry === HUB ? 'docker.io' : registry, { user, password: password.join(':') }] as const;
  });
  return Object.fromEntries(rows);
}

/** docker login */
export function login(it: Run): number {
  const { host, call, flags, config } = it;
  const user = flags.value('username');
  if (flags.has('password-stdin') && user === undefined)
    throw new DockerError('the --password-stdin option requires --username to be set\n');
  if (flags.has('password-stdin') && flags.value('password') !== undefined)
    throw new DockerError('conflicting options: cannot specify both --password and --password-stdin\n');
  const password = flags.has('password-stdin') ? call.stdin.replace(/\r?\n$/, '') : flags.value('password');
  if (user === undefined || !password)
    throw new DockerError('Error: Cannot perform an interactive login from a non TTY device\n');
  engineOf(it, 'auth');
  if (flags.value('password') !== undefined)
    call.stderr('WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n');
  const registry = flags.words[0] ?? 'docker.io';
  needRegistry(host.catalogue, registry);
  const accounts = host.catalogue.filter(
    ({ reference, login: account }) => account && parseReference(reference)?.registry === registry,
  );
  if (!accounts.some(({ login: account }) => account!.user === user && account!.password === password)) {
    throw daemonError(
      registry === 'docker.io'
        ? 'Get "https://registry-1.docker.io/v2/": unauthorized: incorrect username or password'
        : `login attempt to https://${registry}/v2/ failed with status: 401 Unauthorized`,
    );
  }
  const file = configFile(host, call, config);
  mkdirSync(join(file, '..'), { recursive: true, mode: 0o700 });
  const auths = {
    ...readAuths(file),
    [registry === 'docker.io' ? HUB : registry]: { auth: Buffer.from(`${user}:${password}`).toString('base64') },
  };
  writeFileSync(file, JSON.stringify({ auths }), { mode: 0o600 });
  call.stdout('Login Succeeded\n');
  return 0;
}

/** docker logout */
export function logout({ host, call, flags, config }: Run): number {
  const registry = flags.words[0] ?? HUB;
  const file = configFile(host, call, config);
  const { [registry]: held, ...others } = readAuths(file);
  if (held) writeFileSync(file, JSON.stringify({ auths: others }), { mode: 0o600 });
  call.stdout(held ? `Removing login credentials for ${registry}\n` : `Not logged in to ${registry}\n`);
  return 0;
}
