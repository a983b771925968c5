import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';

/** Nothing listens on a port that the plan wants, whatever address it is bound to: SGLang binds some ports everywhere. */
export const portFree: HostCheck = {
  name: 'port-free',
  judge({ listening }, { ports }) {
    if (ports.length === 0) return undefined;
    const wanted = `wanted free: ${list(ports.map(({ port }) => port))}`;
    const remedy = 'Stop what listens there (`sudo ss -ltnp`), or change engine.ports or router.port.';
    if (!listening.value) return cannotTell({ what: 'Listening ports', why: listening.why, wanted, remedy });
    const taken = ports.flatMap(({ port, use }) => {
      const listener = listening.value.find((socket) => socket.port === port);
      return listener ? [`${listener.address}:${port} is in use and wanted for ${use}`] : [];
    });
    return taken.length === 0
      ? pass(`none of them is in use, ${wanted}`)
      : fail(`${taken.join('; ')}; ${wanted}`, remedy);
  },
};
