import { z } from 'zod';
import type { ClusterSpec } from '../spec/schema.ts';
import { Fault } from './faults.ts';
import { PRODUCTS } from './products.ts';

/**
 * A scenario: what the simulated hosts are, as data. Every key has a default that makes a healthy host, so a scenario
 * file says only what is unusual. Faults are part of it and can be changed while it runs.
 */

const count = () => z.int().min(0);

const Gpus = z.strictObject({
  product: z.enum(Object.keys(PRODUCTS) as [string, ...string[]]).default('MI300X'),
  count: count().max(8).default(8),
  /** HBM of each GPU in MiB, where it is not the product's. */
  hbmMiB: z.number().positive().optional(),
  computePartition: z.enum(['SPX', 'DPX', 'QPX', 'CPX']).default('SPX'),
  memoryPartition: z.enum(['NPS1', 'NPS2', 'NPS4']).default('NPS1'),
  /** MiB in use on each GPU by somebody else, by index; the rest use what an idle GPU does. */
  usedMiB: z.array(z.number().min(0)).default([]),
  /** Uncorrectable memory errors of each GPU, by index. */
  uncorrectableErrors: z.array(count()).default([]),
});

const Nic = z.strictObject({
  device: z.string(),
  driver: z.enum(['bnxt_re', 'mlx5', 'ionic']).default('bnxt_re'),
  /** The network device; "" when it is not in this namespace. */
  netdev: z.string().optional(),
  rateGbps: z.number().positive().default(400),
  state: z.enum(['ACTIVE', 'DOWN', 'INIT']).default('ACTIVE'),
  linkLayer: z.enum(['Ethernet', 'InfiniBand']).default('Ethernet'),
  mtu: z.union([z.literal(1024), z.literal(2048), z.literal(4096)]).default(4096),
  /** IPv4 address in its RoCE v2 GID; null for a port without one. Default: one of its own. */
  address: z.string().nullable().optional(),
  /** Measured bandwidth as a fraction of the rate. */
  efficiency: z.number().min(0).max(1).default(0.97),
});

const Sudo = z
  .union([z.enum(['allowed', 'refused']), z.strictObject({ password: z.string() })])
  .describe('What sudo does: allows all, refuses all, or asks for this password.');

const Host = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/),
  address: z.string().regex(/^127\.\d+\.\d+\.\d+$/, 'must be a loopback address, 127.x.y.z'),
  port: z.int().min(1).max(65535).default(2222),
  user: z.string().default('ops'),
  fabricAddress: z.string().optional(),
  gpus: Gpus.prefault({}),
  /** RDMA devices, or auto: one for each GPU, one for a host without. */
  nics: z.union([z.literal('auto'), z.array(Nic)]).default('auto'),
  /** Paths of RDMA provider libraries, or auto: those of the NICs' drivers. */
  providerLibraries: z.union([z.literal('auto'), z.array(z.string())]).default('auto'),
  /** Version of the DKMS driver; null for the driver of the kernel, which shows none; "absent" where none is loaded. */
  driver: z.union([z.string(), z.null()]).default('6.12.12'),
  rocm: z.string().nullable().default('7.2.0'),
  amdSmi: z.enum(['present', 'absent', 'hangs', 'busy']).default('present'),
  kernel: z.string().default('6.8.0-60-generic'),
  os: z.string().default('Ubuntu 24.04.2 LTS'),
  cmdline: z.string().default('BOOT_IMAGE=/boot/vmlinuz root=/dev/nvme0n1p2 ro iommu=pt numa_balancing=disable'),
  numaBalancing: z.string().default('0'),
  /** "unlimited" or bytes, as /proc/self/limits shows it. */
  memlock: z.string().default('unlimited'),
  cores: z.int().positive().default(192),
  memoryGiB: z.number().positive().default(2048),
  disk: z.strictObject({ sizeGiB: z.number().default(14_000), freeGiB: z.number().default(12_000) }).prefault({}),
  docker: z
    .strictObject({
      state: z.enum(['running', 'stopped', 'denied', 'absent']).default('running'),
      version: z.string().default('28.2.2'),
    })
    .prefault({}),
  /** Version of SGLang in its Python, for engines that are processes. Default: the newest. */
  sglang: z.string().optional(),
  /** References of images that are there before anything is pulled; each must be one that a registry knows. */
  images: z.array(z.string()).default([]),
  sudo: Sudo.default('allowed'),
  /** Lines of the kernel log. */
  dmesg: z.array(z.string()).default([]),
  /** Sessions on one connection before the server says "open failed"; sshd's default. */
  maxSessions: z.int().positive().default(10),
  /** Whether the server forwards TCP. */
  forwarding: z.boolean().default(true),
});

const Image = z.strictObject({
  reference: z.string(),
  /** Hex digits of the image id; default: made from the reference, so equal references are equal images. */
  id: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  /** Version of SGLang that it holds, whatever its tag says. Default: the one in the tag, or the newest. */
  sglang: z.string().optional(),
  /** Engines of images with different ones do not read each other's KV cache. Default: all do. */
  generation: z.string().optional(),
  sizeBytes: z.number().default(22_000_000_000),
  pullSeconds: z.number().min(0).default(0.2),
  /** Hosts for which the registry has another image under this reference: host → hex id. */
  otherIdOn: z.record(z.string(), z.string()).default({}),
  login: z.strictObject({ user: z.string(), password: z.string() }).optional(),
});

const Timing = z
  .strictObject({
    startSeconds: z.number(),
    warmupSeconds: z.number(),
    prefillMsPerToken: z.number(),
    decodeMsPerToken: z.number(),
    transferMs: z.number(),
    secondMs: z.number(),
  })
  .partial();

export const Scenario = z.strictObject({
  hosts: z.array(Host).min(1),
  /** What can be pulled. */
  images: z.array(Image).default([]),
  /** Pace of simulated engines; what is left out is the engine's default. */
  timing: Timing.prefault({}),
  /** Seconds that one second of a bandwidth test takes. */
  testSecond: z.number().positive().default(0.1),
  /** Names of the fake models that every host has under ~/share. */
  models: z.array(z.string().regex(/^[A-Za-z0-9._-]+$/)).default(['tiny-chat']),
  /** Ask the simulator about every command, also the real ones, so that all are counted. About 4 ms a command. */
  countAll: z.boolean().default(false),
  faults: z.array(Fault).default([]),
});

/** As written: defaults left out. */
export type ScenarioInput = z.input<typeof Scenario>;
export type Scenario = z.output<typeof Scenario>;
export type HostScenario = z.output<typeof Host>;
export type NicScenario = z.output<typeof Nic>;
export type ImageScenario = z.output<typeof Image>;

/** A scenario of healthy hosts that fit a spec: its addresses, products, counts and images. */
export function scenarioFor(spec: ClusterSpec): ScenarioInput {
  const { hosts, engine, prefill, decode, router, model } = spec;
  const images = [engine.image, prefill.image, decode.image, 'host' in router ? router.image : undefined].filter(
    (image): image is string => image !== undefined,
  );
  return {
    hosts: hosts.list.map((host) => ({
      name: host.name,
      address: host.address,
      port: host.port ?? hosts.ssh.port,
      user: host.user ?? hosts.ssh.user,
      ...(host.fabricAddress === undefined ? {} : { fabricAddress: host.fabricAddress }),
      gpus: { product: host.gpus.product, count: host.gpus.count },
    })),
    images: [...new Set(images)].map((reference) => ({ reference })),
    models: sharedModels(model.source),
  };
}

/** "file://~/share/tiny-chat" names a model that the simulated hosts must have. */
function sharedModels(source: string): string[] {
  const name = /^file:\/\/~\/share\/([A-Za-z0-9._-]+)\/?$/.exec(source)?.[1];
  return name ? [name] : [];
}
