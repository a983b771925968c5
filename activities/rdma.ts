import type { Finding } from '../src/checks/check.ts';
import { judgeLink } from '../src/checks/rdma-bandwidth.ts';
import type { Command, Drivers, Host, Output } from '../src/drivers/types.ts';
import { type Reading, read } from '../src/facts/fact.ts';
import { type LinkBandwidth, ibWriteBw } from '../src/facts/ib-write-bw.ts';
import type { HostRef, LinkRound, LinkTest } from '../src/plan/types.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { signal } from './context.ts';

/** Longest time from starting a server until its client is through to it. */
const CONNECT_LIMIT_MS = 20_000;
/** What a test takes beyond its seconds: buffers, queue pairs, the exchange of addresses, the summary. */
const OVERHEAD_MS = 10_000;
const RETRY_EVERY_MS = 200;

/** How perftest's client says that nobody listens yet. */
const REFUSED = /Couldn't connect to|Connection refused|Unable to open file descriptor for socket connection/i;

export interface MeasureRound {
  readonly round: LinkRound;
  /** Every host of the round. */
  readonly refs: readonly HostRef[];
  /** Length of each test. */
  readonly seconds: number;
  readonly waive: ClusterSpec['checks']['waive'];
}

/** The activities of the RDMA fabric. */
export const createRdmaActivities = (drivers: Pick<Drivers, 'host'>) => ({
  /**
   * Measures every link of a round at the same time, so that NICs of one host load it together as serving will. A
   * failed measurement is a finding. No process of it is left when the promise settles. Errors: HOST_*.
   */
  async measureRound({ round: { tests }, refs, seconds, waive }: MeasureRound): Promise<Finding[]> {
    const over = new AbortController();
    const ends = AbortSignal.any([signal(), over.signal]);
    const hosts = new Map(refs.map((ref) => [ref.name, drivers.host(ref, ends)]));
    const hostOf = (name: string): Host => hosts.get(name)!;
    const servers = new Map<LinkTest, Output>();
    const serving = [...new Set(tests.map(({ target }) => target.host))].map(async (name) => {
      const own = tests.filter(({ target }) => target.host === name);
      const commands = own.map((test) => serverOf(test, seconds));
      const outputs = await hostOf(name).runAll(commands, { parallel: true });
      own.forEach((test, index) => servers.set(test, outputs[index]!));
    });
    const clients = tests.map((test) =>
      measure(hostOf(test.source.host), clientOf(test, seconds), () => ends.aborted || servers.has(test), ends),
    );
    // The first error ends the rest at once, and all are waited for: whoever reads it may start the next round.
    const work = [...serving, ...clients].map((one) =>
      one.catch((error: unknown) => (over.abort(error), Promise.reject(error))),
    );
    const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected');
    if (failed) throw over.signal.reason;
    const outputs = await Promise.all(clients);
    return tests.map((test, index) => judgeLink(test, bandwidthOf(outputs[index]!, servers.get(test)), waive));
  },
});

const serverOf = ({ target, port }: LinkTest, seconds: number): Command => ({
  argv: ibWriteBw.command({ ...endOf(target), seconds, port }),
  timeoutMs: CONNECT_LIMIT_MS + seconds * 1000 + OVERHEAD_MS,
});

const clientOf = ({ source, target, port }: LinkTest, seconds: number): Command => ({
  argv: ibWriteBw.command({ ...endOf(source), seconds, port, server: target.address }),
  timeoutMs: seconds * 1000 + OVERHEAD_MS,
});

const endOf = ({ device, gidIndex }: LinkTest['source']) => ({
  device,
  ...(gidIndex === undefined ? {} : { gidIndex }),
});

/** Runs a client, again while its server does not listen yet; the last output, refused or not, is the answer. */
async function measure(host: Host, client: Command, isOver: () => boolean, ends: AbortSignal): Promise<Output> {
  const until = performance.now() + CONNECT_LIMIT_MS;
  for (;;) {
    const serverIsOver = isOver(); // Asked before the try: a server that ends during it may have served it.
    const [output] = await host.runAll([client]); // A time-out is an output here, and an error of `run`.
    const refused = output!.exitCode !== 0 && REFUSED.test(`${output!.stderr}\n${output!.stdout}`);
    if (!refused || serverIsOver || performance.now() > until) return output!;
    await pause(ends);
  }
}

const pause = (ends: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(done, RETRY_EVERY_MS);
    ends.addEventListener('abort', done, { once: true });
    function done(): void {
      clearTimeout(timer);
      ends.removeEventListener('abort', done);
      resolve();
    }
  });

/** What the client measured; where it has nothing, its reason and that of its server, which often is the real one. */
function bandwidthOf(client: Output, server: Output | undefined): Reading<LinkBandwidth> {
  const measured = read(ibWriteBw, client);
  if (measured.value) return measured;
  const other = read(ibWriteBw, server);
  return { why: other.value ? measured.why : `${measured.why}; on the other end: ${other.why}` };
}
