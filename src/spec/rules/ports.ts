import type { ClusterSpec, HostSpec } from '../schema.ts';
import type { Path } from '../violation.ts';
import { eligibleHosts } from './gpus.ts';
import { fabricAddressOf } from './hosts.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** An engine's ports are the bases plus this for each GPU before its first, since SGLang derives more ports from each. */
export const PORT_STRIDE = 100;
/** Most NICs of one host that a bandwidth test runs on at once, each on its own port. */
const MAX_NICS = 16;

/** Ports from `base`, one every `stride`. */
interface Range {
  readonly key: string;
  readonly path: Path;
  readonly base: number;
  readonly stride: number;
  readonly count: number;
}

/** No two things of the cluster want one port of one host. */
export const distinctPorts: Rule = function* (spec) {
  // Every host has the same bases, so the one with the most GPUs shows every clash there can be.
  const gpus = Math.max(...spec.hosts.list.map((host) => host.gpus.count));
  const ranges: Range[] = [
    ...engineRanges(spec, gpus),
    { key: 'rdma.testPort', path: ['rdma', 'testPort'], base: spec.rdma.testPort, stride: 1, count: MAX_NICS },
  ];
  for (const range of ranges) {
    const last = range.base + range.stride * (range.count - 1);
    if (last <= 65535) continue;
    const message = `${range.base} goes up to ${last} on a host with ${gpus} GPUs, ports end at 65535`;
    yield error({ path: range.path, message, remedy: `Lower it by ${last - 65535} or more.` });
  }
  for (const [i, range] of ranges.entries()) {
    for (const other of ranges.slice(0, i)) {
      const port = meeting(range, other);
      if (port === undefined) continue;
      const message = `meets ${other.key} at port ${port}: engines take a port every ${PORT_STRIDE} from each base`;
      yield error({ path: range.path, message, remedy: `Move it away from ${other.base}.` });
    }
  }
};

/** Bases that are closer than the stride share the ports that SGLang derives from them. */
export const spreadPorts: Rule = function* (spec) {
  const ranges = engineRanges(spec, 1);
  for (const [i, { path, base }] of ranges.entries()) {
    for (const other of ranges.slice(0, i)) {
      const apart = Math.abs(base - other.base);
      if (apart === 0 || apart >= PORT_STRIDE) continue;
      const message = `is ${apart} from ${other.key}, and SGLang takes more ports behind each`;
      yield warning({ path, message, remedy: `Keep the bases ${PORT_STRIDE} or more apart.` });
    }
  }
};

/** The router and the engines of its host do not want one port of one address. */
export const routerPort: Rule = function* (spec) {
  const { router, hosts } = spec;
  if ('external' in router) return;
  const host = hosts.list.find(({ name }) => name === router.host);
  if (!host || !holdsEngines(spec, host)) return;
  const listen = router.listen ?? host.address;
  if (!['0.0.0.0', '::', fabricAddressOf(host)].includes(listen)) return;
  const mine: Range = { key: 'router.port', path: ['router', 'port'], base: router.port, stride: 1, count: 1 };
  for (const range of engineRanges(spec, host.gpus.count)) {
    if (meeting(mine, range) === undefined) continue;
    yield error({
      path: mine.path,
      message: `${router.port} on ${host.name} is also a port of its engines, by ${range.key}`,
      remedy: 'Choose another router.port, or a router.host without engines.',
    });
  }
};

const holdsEngines = (spec: ClusterSpec, { name }: HostSpec) =>
  eligibleHosts(spec, ...ROLES).some((host) => host.name === name);

function engineRanges({ engine, prefill, decode }: ClusterSpec, gpus: number): Range[] {
  // The first GPU of the last engine that fits on the host.
  const smallest = Math.min(prefill.gpus.count, decode.gpus.count);
  const count = Math.max(1, gpus - smallest + 1);
  return (['http', 'bootstrap', 'distInit'] as const).map((port) => ({
    key: `engine.ports.${port}`,
    path: ['engine', 'ports', port],
    base: engine.ports[port],
    stride: PORT_STRIDE,
    count,
  }));
}

/** The lowest port that both ranges hold. */
function meeting(a: Range, b: Range): number | undefined {
  const ports = new Set(portsOf(a));
  return portsOf(b).find((port) => ports.has(port));
}

const portsOf = ({ base, stride, count }: Range) => Array.from({ length: count }, (_, i) => base + i * stride);
