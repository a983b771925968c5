import { z } from 'zod';
import {
  absolutePath,
  address,
  argument,
  baseUrl,
  device,
  flagName,
  hostKey,
  hostPath,
  image,
  line,
  modelId,
  paragraph,
  plainName,
  user,
  variable,
  word,
  workerFile,
  workerPath,
} from './strings.ts';

/**
 * The cluster spec. Every key carries its meaning, unit and default in `describe`, which `tandem schema` prints;
 * `specs/reference.yaml` holds the same keys and a test keeps the two equal. Rules that span keys are in `rules.ts`.
 */

const count = () => z.int().min(1);
const port = () => z.int().min(1024).max(65535);
const seconds = () => z.int().min(1);

export const SecretRef = z
  .union(
    [
      z.strictObject({ fromEnv: variable().describe('Environment variable on the Temporal worker that holds it.') }),
      z.strictObject({ fromFile: workerFile().describe('File on the Temporal worker that holds it.') }),
    ],
    'must be a secret by reference, {fromEnv: NAME} or {fromFile: PATH}',
  )
  .describe(
    'A secret by reference, resolved on the Temporal worker where it is used: {fromEnv: NAME} or {fromFile: PATH}.',
  );
export type SecretRef = z.infer<typeof SecretRef>;

const FlagValue = z.union(
  [z.string(), z.number(), z.boolean(), z.array(z.union([z.string(), z.number()], 'must be text or a number'))],
  'must be text, a number, true, false or a list',
);
export type FlagValue = z.infer<typeof FlagValue>;
/** More than any release of SGLang or a router has. Each flag is looked up among some six hundred spellings. */
const MAX_FLAGS = 1_000;
const args = (of: string) =>
  z
    .record(flagName(), FlagValue)
    .check(({ value, issues }) => {
      if (Object.keys(value).length <= MAX_FLAGS) return;
      issues.push({ code: 'too_big', origin: 'record', maximum: MAX_FLAGS, inclusive: true, input: value });
    })
    .default({})
    .describe(
      `Flags of ${of} without the leading dashes. true gives a bare flag, false leaves it out, a list repeats values.`,
    );
const env = (of: string) =>
  z.record(variable(), z.string()).default({}).describe(`Environment of ${of}; values are strings, so quote numbers.`);
const secretEnv = (of: string) =>
  z.record(variable(), SecretRef).default({}).describe(`Environment of ${of} whose values are secrets, by reference.`);

const Model = z.strictObject({
  id: modelId().describe('Model name that clients ask for, as on the Hugging Face Hub: organisation/name.'),
  source: line().describe(
    'Where the weights come from: hf://ORG/NAME@REVISION, https://…/, rsync://… or file:///path. file:// on a shared mount is used in place unless copy is true; file://~/… is under the home of the SSH user.',
  ),
  copy: z
    .boolean()
    .default(false)
    .describe('Copy file:// weights into dir, checked, instead of using them in place. Default false.'),
  dir: hostPath()
    .default('/var/lib/tandem/models')
    .describe('Folder on each host for staged weights: dir/<id>/<revision>/. Default /var/lib/tandem/models.'),
  token: SecretRef.optional().describe(
    'Token for the source: the Hugging Face token of a gated model, or a bearer token for https://.',
  ),
  endpoint: baseUrl('must be a URL that begins with https://')
    .optional()
    .describe('Mirror of the Hugging Face Hub to ask instead of https://huggingface.co.'),
});

const Ports = z.strictObject({
  http: port()
    .default(30000)
    .describe('Base of the HTTP ports. An engine adds 100 × its first GPU index. Default 30000.'),
  bootstrap: port().default(8998).describe('Base of the bootstrap ports of prefill engines. Default 8998.'),
  distInit: port()
    .default(20000)
    .describe('Base of the ports by which the ranks of an engine over several hosts meet. Default 20000.'),
});

const Mount = z.strictObject({
  source: hostPath().describe('Path on the host.'),
  target: absolutePath().describe('Path in the container.'),
  readOnly: z.boolean().default(true).describe('Mount read-only. Default true.'),
});

const Pull = z.strictObject({
  policy: z
    .enum(['missing', 'always', 'never'])
    .default('missing')
    .describe('When to pull the image: missing, always, or never (it must be there). Default missing.'),
  login: z
    .strictObject({ user: word('a user of the registry').describe('User of the registry.'), password: SecretRef })
    .optional()
    .describe('Login at the registry.'),
  mirror: word('a registry, as HOST:PORT')
    .optional()
    .describe('Registry host that is asked instead of the one in the image name.'),
});

const Engine = z.strictObject({
  image: image().optional().describe('Container image of the engines. Needed with runtime docker; @sha256:… pins it.'),
  version: plainName('a version')
    .optional()
    .describe('Version of SGLang, by which args are checked. Default: read from the tag of the image.'),
  runtime: z
    .enum(['docker', 'process'])
    .default('docker')
    .describe('How engines run on a host: docker, or process. Default docker.'),
  command: z
    .array(argument())
    .min(1)
    .default(['python3', '-m', 'sglang.launch_server'])
    .describe('The program that starts an engine. Default [python3, -m, sglang.launch_server].'),
  ports: Ports.prefault({}).describe('Port bases of the engines.'),
  args: args('both roles'),
  env: env('both roles'),
  secretEnv: secretEnv('both roles'),
  apiKey: SecretRef.optional().describe(
    'API key that engines ask of their clients; goes through a 0600 file, never the command line.',
  ),
  adminKey: SecretRef.optional().describe('Key of the engines’ control endpoints; goes through the same file.'),
  mounts: z.array(Mount).default([]).describe('More mounts of the containers.'),
  devices: z
    .array(device())
    .default(['/dev/kfd', '/dev/dri', '/dev/infiniband'])
    .describe('Devices given to the containers. Default /dev/kfd, /dev/dri, /dev/infiniband.'),
  groups: z
    .array(plainName('a group'))
    .default(['video', 'render'])
    .describe('Groups added to the containers. Default video, render.'),
  capabilities: z
    .array(plainName('a capability'))
    .default(['SYS_PTRACE', 'IPC_LOCK'])
    .describe('Capabilities added to the containers. Default SYS_PTRACE, IPC_LOCK.'),
  securityOptions: z
    .array(word('a security option'))
    .default(['seccomp=unconfined'])
    .describe('Security options of the containers. Default seccomp=unconfined.'),
  privileged: z
    .boolean()
    .default(false)
    .describe('Run the containers privileged instead of with named devices. Default false.'),
  ulimits: z
    .record(plainName('a limit'), z.int())
    .default({ memlock: -1 })
    .describe('Limits of the containers; -1 is unlimited. Default memlock: -1.'),
  shmSizeGiB: z
    .number()
    .positive()
    .default(64)
    .describe('Size of /dev/shm of the containers, in GiB. Default 64; ignored with host IPC.'),
  hostIpc: z.boolean().default(true).describe('Share the IPC namespace of the host. Default true.'),
  readyTimeoutSeconds: seconds()
    .default(1800)
    .describe('Longest time from the start of an engine until it is ready, in seconds. Default 1800.'),
  stopTimeoutSeconds: seconds()
    .default(120)
    .describe('Time an engine gets to end by itself after SIGTERM, in seconds. Default 120.'),
  pull: Pull.prefault({}).describe('How the image comes to the hosts.'),
});

const Gpus = z.strictObject({
  product: line().describe('GPU product, as in MI300X.'),
  count: z.int().min(0).max(1024).describe('Number of GPUs on each host.'),
});

const Jump = z.strictObject({
  address: address().describe('Address of the jump host.'),
  port: z.int().min(1).max(65535).default(22).describe('SSH port of the jump host. Default 22.'),
  user: user().describe('User on the jump host.'),
  identityFile: workerPath()
    .optional()
    .describe('Private key for the jump host, on the Temporal worker. Default: that of the hosts.'),
  hostKey: hostKey().optional().describe('Public host key of the jump host. Default: looked up in knownHostsFile.'),
});

const Ssh = z.strictObject({
  user: user().describe('User to log in as.'),
  port: z.int().min(1).max(65535).default(22).describe('SSH port. Default 22.'),
  identityFile: workerPath()
    .optional()
    .describe('Private key file on the Temporal worker. Default: the SSH agent and the usual keys.'),
  knownHostsFile: workerPath()
    .default('~/.ssh/known_hosts')
    .describe('File of known host keys on the Temporal worker. Default ~/.ssh/known_hosts.'),
  jump: z.array(Jump).default([]).describe('Jump hosts, outermost first.'),
  become: z
    .enum(['none', 'sudo'])
    .default('none')
    .describe('Run commands as root by sudo, or as the user who logs in: none or sudo. Default none.'),
  becomePassword: SecretRef.optional().describe('Password for sudo where it asks for one.'),
  configFile: workerPath().optional().describe('An ssh_config on the Temporal worker to read. Default: none is read.'),
  retrySeconds: z
    .int()
    .min(0)
    .default(300)
    .describe(
      'How long what may pass by itself, such as an unreachable host, is tried again, in seconds. Default 300.',
    ),
});

const HostEntry = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, 'must be lower-case letters, digits, dots and dashes')
    .describe('Name of the host in this spec and in every message.'),
  address: address().describe('Address by which the Temporal worker reaches the host.'),
  port: z.int().min(1).max(65535).optional().describe('SSH port of this host. Default: ssh.port.'),
  user: user().optional().describe('User on this host. Default: ssh.user.'),
  hostKey: hostKey().optional().describe('Public host key, "ssh-ed25519 AAAA…". Default: looked up in knownHostsFile.'),
  fabricAddress: address().optional().describe('Address that engines bind and register at. Default: address.'),
  gpus: Gpus.describe('GPUs of the host; count 0 for a host that only routes.'),
});

const Hosts = z.strictObject({
  provider: z.literal('static').default('static').describe('Where hosts come from: static, the list below.'),
  ssh: Ssh.describe('How to log in to the hosts.'),
  stateDir: hostPath()
    .default('~/.tandem')
    .describe('Folder of Tandem on each host. Default ~/.tandem, of the SSH user.'),
  leaseDir: hostPath()
    .default('/var/lib/tandem/leases')
    .describe('Folder of GPU leases on each host, one for all teams. Default /var/lib/tandem/leases.'),
  list: z.array(HostEntry).min(1).describe('The hosts.'),
});

const role = (name: string) =>
  z.strictObject({
    replicas: count().describe(`Number of ${name} engines.`),
    hostsPerReplica: count().default(1).describe('Hosts that one engine spans. Default 1.'),
    gpus: z
      .strictObject({
        product: line().describe('GPU product the role needs, as in MI300X.'),
        count: count().describe('GPUs of one engine on each of its hosts.'),
      })
      .describe('GPUs of one engine. The tensor-parallel size is count × hostsPerReplica unless args say otherwise.'),
    hosts: z
      .array(line())
      .min(1)
      .optional()
      .describe('Names of the hosts this role may use. Default: every host that fits.'),
    image: image().optional().describe('Container image of this role. Default engine.image.'),
    args: args(`the ${name} engines; they win over engine.args`),
    env: env(`the ${name} engines; it wins over engine.env`),
    secretEnv: secretEnv(`the ${name} engines`),
  });

const versionRange = () =>
  z.string().max(100, { abort: true }).regex(VERSION_RANGE, 'must be a version range such as ">=6.3"');

/** Versions of up to four numbers with nine digits, a comparison before each or not; between two a blank or a comparison. */
const VERSION_RANGE =
  /^\s*(?:(?:[<>]=?|[=^~])\s*)?\d{1,9}(?:\.\d{1,9}){0,3}(?:(?:\s+|\s*(?:[<>]=?|[=^~])\s*)\d{1,9}(?:\.\d{1,9}){0,3})*\s*$/;

const Rocm = z.strictObject({
  version: versionRange().default('>=6.3').describe('Accepted range of ROCm on the hosts, quoted. Default ">=6.3".'),
  driver: versionRange().default('>=6.10').describe('Accepted range of the amdgpu driver, quoted. Default ">=6.10".'),
  maxUsedGiB: z
    .number()
    .min(0)
    .default(2)
    .describe('Memory that may be in use on a GPU that counts as free, in GiB. Default 2.'),
});

const Rdma = z.strictObject({
  transport: z
    .enum(['rdma', 'tcp'])
    .default('rdma')
    .describe('What carries the KV cache: rdma, or tcp (slow; warns). Default rdma.'),
  backend: z
    .enum(['mooncake', 'nixl', 'mori'])
    .default('mooncake')
    .describe('SGLang’s transfer backend: mooncake, nixl or mori. Default mooncake.'),
  devices: z
    .union(
      [z.literal('auto'), z.array(plainName('an RDMA device')).min(1)],
      'must be auto or a list of RDMA device names',
    )
    .default('auto')
    .describe(
      'RDMA devices to use on each host, or auto: all that it has. An engine gets those of its GPUs, and each that it gets must be up. Default auto.',
    ),
  gidIndex: z
    .union([z.literal('auto'), z.int().min(0)], 'must be auto or a whole number from 0')
    .default('auto')
    .describe('GID index, or auto: the RoCE v2 GID with an IPv4 address. Default auto.'),
  providerLibrary: z
    .union(
      [z.enum(['auto', 'none']), absolutePath('must be auto, none or a path that starts with /')],
      'must be auto, none or a path that starts with /',
    )
    .default('auto')
    .describe(
      'RDMA provider library to mount into containers: auto (found on the host for the NICs’ driver), none, or a path. Default auto.',
    ),
  minLinkGbps: z
    .number()
    .positive()
    .default(100)
    .describe('Lowest accepted rate of an RDMA port, in gigabits per second. Default 100.'),
  minGbps: z
    .number()
    .positive()
    .optional()
    .describe(
      'Lowest accepted measured bandwidth of every link, in gigabits per second. Default 90 % of the slower port’s rate.',
    ),
  coverage: z
    .enum(['all', 'sampled'])
    .default('all')
    .describe('Measure every prefill → decode pair of hosts, or a sample of four partners per host. Default all.'),
  testSeconds: z.int().min(1).max(60).default(2).describe('Length of one bandwidth test, in seconds. Default 2.'),
  testPort: port().default(18515).describe('Base of the ports of the bandwidth test; one per NIC. Default 18515.'),
  measureServing: z
    .boolean()
    .default(false)
    .describe('Measure links of hosts that already serve, which disturbs them. Default false: such links warn.'),
});

const Checks = z.strictObject({
  waive: z
    .array(
      z.strictObject({
        check: line().describe('Name of the check.'),
        reason: paragraph().describe('Why it is waived; kept with the deployment.'),
        host: line().optional().describe('Only on this host. Default: on every host.'),
      }),
    )
    .default([])
    .describe('Checks whose failure only warns.'),
});

const ManagedRouter = z.strictObject({
  implementation: z
    .enum(['smg', 'sglang-router'])
    .default('smg')
    .describe('Which router: smg or sglang-router. Default smg.'),
  version: plainName('a version')
    .optional()
    .describe('Version of the router, by which args are checked. Default: 1.13.0 of smg, 0.3.2 of sglang-router.'),
  host: line().describe('Name of the host that the router runs on.'),
  port: port().default(30000).describe('Port of the router. Default 30000.'),
  listen: address().optional().describe('Address the router binds. Default: the address of its host.'),
  runtime: z
    .enum(['docker', 'process'])
    .default('docker')
    .describe('How the router runs: docker, or process. Default docker.'),
  image: image().optional().describe('Container image of the router. Needed with runtime docker.'),
  command: z
    .array(argument())
    .min(1)
    .optional()
    .describe(
      'The program that starts the router. Default: python3 -m smg.launch_router or -m sglang_router.launch_router.',
    ),
  policy: plainName('a policy').default('cache_aware').describe('Routing policy. Default cache_aware.'),
  args: args('the router'),
  env: env('the router'),
  apiKey: SecretRef.optional().describe(
    'Key that the router asks of its clients, and passes on: the same secret as engine.apiKey where both are set.',
  ),
  adminKey: SecretRef.optional().describe('Key of the router’s control plane.'),
  readyTimeoutSeconds: seconds()
    .default(120)
    .describe('Longest time until the router answers, in seconds. Default 120.'),
});

const ExternalRouter = z.strictObject({
  external: z
    .strictObject({
      url: z
        .url({ protocol: /^https?$/, error: 'must be a URL that begins with http:// or https://', abort: true })
        .regex(/^[^\s?#\p{Cc}\p{Cf}]+$/u, 'must be a URL to which paths can be appended: no blanks, query or fragment')
        .describe('URL of the router.'),
      implementation: z.enum(['smg', 'sglang-router']).default('smg').describe('Which router it is. Default smg.'),
      version: plainName('a version').optional().describe('Its version. Default: that of the managed router.'),
      apiKey: SecretRef.optional().describe('Key of its clients; the same as engine.apiKey where both are set.'),
      adminKey: SecretRef.optional().describe('Key of its control plane.'),
    })
    .describe('A router that Tandem did not start and never stops; engines are registered at it.'),
});

const Acceptance = z.strictObject({
  warmupRequests: z.int().min(0).default(8).describe('Requests before measuring. Default 8.'),
  requests: count()
    .default(200)
    .describe('Measured requests through the router. Default 200; below that the gate is P95.'),
  concurrency: count().default(8).describe('Requests at a time. Default 8.'),
  promptTokens: count().default(128).describe('Length of a prompt, in words. Default 128.'),
  outputTokens: count().default(32).describe('Longest answer, in tokens. Default 32.'),
  maxTtftP99Ms: z
    .number()
    .positive()
    .optional()
    .describe('Gate: time to first token, P99, in milliseconds. Default: no gate, only measured.'),
  timeoutSeconds: seconds().default(120).describe('Longest time of one request, in seconds. Default 120.'),
});

const Upgrade = z.strictObject({
  maxUnavailable: z
    .strictObject({
      prefill: z.int().min(0).default(1).describe('Prefill engines that may be out at once. Default 1.'),
      decode: z.int().min(0).default(1).describe('Decode engines that may be out at once. Default 1.'),
    })
    .prefault({})
    .describe('Engines that may be out of service at once.'),
  surge: z
    .int()
    .min(0)
    .default(0)
    .describe('Engines of each role started beyond replicas during an upgrade. Default 0.'),
  pairing: z
    .enum(['strict', 'compatible'])
    .default('strict')
    .describe('strict never lets two KV generations meet; compatible does. Default strict.'),
  allowDowntime: z.boolean().default(false).describe('Allow an upgrade that stops serving. Default false.'),
  drainTimeoutSeconds: seconds()
    .default(600)
    .describe('Longest wait for an engine to finish its requests, in seconds. Default 600.'),
  settleSeconds: z
    .int()
    .min(0)
    .default(6)
    .describe('How long an engine must be seen idle before it is stopped, in seconds. Default 6.'),
});

export const ClusterSpec = z.strictObject({
  specVersion: z.literal(1).describe('Version of this format: 1.'),
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,39}$/, 'must be lower-case letters, digits and dashes, at most 40, a letter first')
    .describe('Name of the cluster.'),
  site: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,39}$/, 'must be lower-case letters, digits and dashes, at most 40, a letter first')
    .default('default')
    .describe('Which Temporal workers reach these hosts: queue tandem-<site>. Default "default".'),
  model: Model.describe('The model to serve.'),
  engine: Engine.prefault({}).describe('What both roles have in common.'),
  hosts: Hosts.describe('The machines.'),
  prefill: role('prefill').describe('The engines that compute the KV cache of a prompt.'),
  decode: role('decode').describe('The engines that generate the answer.'),
  rocm: Rocm.prefault({}).describe('What the GPU software of the hosts must be.'),
  rdma: Rdma.prefault({}).describe('What the RDMA fabric must be and prove before any engine starts.'),
  checks: Checks.prefault({}).describe('Exceptions to the checks.'),
  router: z
    .union([ManagedRouter, ExternalRouter], 'must be a mapping: of the keys of a router, or of external')
    .describe('The router in front of the engines: one that Tandem runs, or an external one.'),
  acceptance: Acceptance.prefault({}).describe(
    'What must be proven through the router before a deployment counts as done.',
  ),
  upgrade: Upgrade.prefault({}).describe('How rolling changes go.'),
});

/** A spec with every default filled in. Plain JSON: it travels through Temporal as it is. */
export type ClusterSpec = z.infer<typeof ClusterSpec>;
export type HostSpec = ClusterSpec['hosts']['list'][number];
export type RoleSpec = ClusterSpec['prefill'];
export type ManagedRouterSpec = z.infer<typeof ManagedRouter>;
export type ExternalRouterSpec = z.infer<typeof ExternalRouter>;
