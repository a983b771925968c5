import type { Reading } from '../facts/fact.ts';
import type { LinkBandwidth } from '../facts/ib-write-bw.ts';
import type { LinkTest } from '../plan/types.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { type Finding, waive } from './check.ts';

export const RDMA_BANDWIDTH = 'rdma-bandwidth';

/** Every measured link, prefill host → decode host, carries what its test asks for: `rdma.minGbps` or its default. */
export function judgeLink(
  { source, target, minGbps }: Pick<LinkTest, 'source' | 'target' | 'minGbps'>,
  bandwidth: Reading<Pick<LinkBandwidth, 'averageGbps'>>,
  waivers: ClusterSpec['checks']['waive'],
): Finding {
  const link = `${source.host}/${source.device} → ${target.host}/${target.device}`;
  const wanted = `rdma.minGbps asks for ${minGbps}`;
  const common = { check: RDMA_BANDWIDTH, host: source.host, peer: target.host };
  if (!bandwidth.value) {
    const evidence = `${link}: bandwidth could not be measured: ${bandwidth.why}; ${wanted}`;
    const remedy = 'Run `ib_write_bw` by hand between the two hosts; check perftest, firewall, GID and routing.';
    return waive({ ...common, verdict: 'fail', evidence, remedy }, waivers);
  }
  const evidence = `${link}: ${bandwidth.value.averageGbps} Gb/s measured, ${wanted}`;
  if (bandwidth.value.averageGbps >= minGbps) return { ...common, verdict: 'pass', evidence };
  const remedy = 'Check cable, port speed, MTU and priority flow control on both ends and the switch between.';
  return waive({ ...common, verdict: 'fail', evidence, remedy }, waivers);
}
