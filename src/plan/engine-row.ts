import { engineContainer } from '../sglang/container.ts';
import { engineCommand, engineEnv, hostPort } from '../sglang/engine-argv.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { EngineRow } from './digest.ts';
import { devicesOf, type Fleet, type FleetHost } from './fleet.ts';
import { fabricAddress } from './host-ref.ts';
import type { Place, Seat } from './placement.ts';
import { enginePorts, rankPorts } from './ports.ts';
import type { ModelPlan, RankPlan } from './types.ts';

/** The RDMA devices of each rank of an engine, by name. */
export type NicsByRank = readonly (readonly string[])[];

/** The devices that a new engine gets: those of its GPUs that are up. */
export const devicesUp = (fleet: Fleet, { hosts, gpus }: Place): NicsByRank =>
  hosts.map((host) => devicesOf(fleet.get(host)!, gpus).up.map(({ device }) => device));

/** The devices that belong to its GPUs, up or down: what an engine had that was started while all were up. */
export const devicesAll = (fleet: Fleet, { hosts, gpus }: Place): NicsByRank =>
  hosts.map((host) => devicesOf(fleet.get(host)!, gpus).all.map(({ device }) => device));

/** Everything that says what an engine at a place is. */
export type RowOf = (seat: Seat, place: Place, nics: NicsByRank) => EngineRow;

/** A row depends on the spec and the engine's own hosts alone, so a neighbour that comes or goes never changes it. */
export function engineRows(spec: ClusterSpec, fleet: Fleet, model: ModelPlan): RowOf {
  const commands = { prefill: engineCommand(spec, 'prefill'), decode: engineCommand(spec, 'decode') };
  return ({ role, index }, place, nics) => {
    const { engine } = spec;
    const firstGpu = place.gpus[0]!;
    const ports = enginePorts(spec, role, firstGpu);
    const hosts = place.hosts.map((name) => fleet.get(name)!);
    const rank0Address = fabricAddress(hosts[0]!.spec);
    const ranks = hosts.map((host, rank): RankPlan => {
      const launch = {
        modelPath: model.path,
        address: fabricAddress(host.spec),
        ports,
        rank,
        rank0Address,
        firstGpu,
        nics: nics[rank]!,
      };
      return {
        rank,
        host: host.name,
        gpus: place.gpus.map((gpu) => ({ index: gpu, pci: host.gpus.find((one) => one.index === gpu)!.pci })),
        nics: launch.nics,
        ports: rankPorts(ports, rank),
        argv: commands[role](launch),
        env: engineEnv(spec, { role, nics: launch.nics, address: launch.address }),
        secretEnv: { ...engine.secretEnv, ...spec[role].secretEnv },
        ...(engine.runtime === 'docker' && {
          container: engineContainer(spec, {
            image: spec[role].image ?? engine.image ?? '',
            modelPath: model.path,
            providerLibraries: providerLibraries(spec, host, launch.nics),
          }),
        }),
      };
    });
    return {
      role,
      index,
      runtime: engine.runtime,
      url: `http://${hostPort(rank0Address, ports.http)}`,
      host: place.hosts[0]!,
      httpPort: ports.http,
      ...(ports.bootstrap !== undefined && { bootstrapPort: ports.bootstrap }),
      servedModelName: spec.model.id,
      ranks,
      readyTimeoutSeconds: engine.readyTimeoutSeconds,
      stopTimeoutSeconds: engine.stopTimeoutSeconds,
      ...(engine.apiKey && { apiKey: engine.apiKey }),
      ...(engine.adminKey && { adminKey: engine.adminKey }),
    };
  };
}

/** The image has no provider library for every NIC, so the host's own is lent to it: one per driver of the rank's devices. */
function providerLibraries({ rdma }: ClusterSpec, host: FleetHost, devices: readonly string[]): readonly string[] {
  const { providerLibrary } = rdma;
  if (rdma.transport === 'tcp' || providerLibrary === 'none') return [];
  if (providerLibrary !== 'auto') return [providerLibrary];
  const drivers = new Set(host.nics.filter(({ device }) => devices.includes(device)).map(({ driver }) => driver));
  const found = [...drivers].toSorted().flatMap((driver) =>
    host.inventory.providerLibraries
      .filter((library) => library.driver === driver)
      .map(({ path }) => path)
      .toSorted()
      .slice(0, 1),
  );
  return found;
}
