import { setMaxListeners } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';

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
/** What servers get for their summaries once every client has its answer: one whose client failed would wait for another. */
const SUMMARY_MS = 2_000;

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
    const [over, answered] = [new AbortController(), new AbortController()];
    const ends = AbortSignal.any([signal(), over.signal]);
    const serversEnd = AbortSignal.any([ends, answered.signal]);
    for (const each of [ends, serversEnd]) setMaxListeners(0, each); // Every host of the round listens.
    const hostOf = (name: string, until: AbortSignal): Host =>
      drivers.host(
        refs.find((ref) => ref.name === name)!,
        until,
      );
    const servers = new Map<LinkTest, Output>();
    const serving = [...new Set(tests.map(({ target }) => target.host))].map(async (name) => {
      const own = tests.filter(({ target }) => target.host === name);
      const commands = own.map((test) => serverOf(test, seconds));
      try {
        const outputs = await hostOf(name, serversEnd).runAll(commands, { parallel: true });
        own.forEach((test, index) => servers.set(test, outputs[index]!));
      } catch (error) {
        if (!answered.signal.aborted) throw error;
      }
    });
    const answers = new Map<LinkTest, Output>();
    const asking = [...new Set(tests.map(({ source }) => source.host))].map(async (name) => {
      const own = tests.filter(({ source }) => source.host === name);
      const isOver = (test: LinkTest) => ends.aborted || servers.has(test);
      await measure(hostOf(name, ends), own, { seconds, answers, isOver, ends });
    });
    void Promise.all(asking)
      .then(() => pause(SUMMARY_MS, undefined, { signal: answered.signal }))
      .then(() => answered.abort())
      .catch(() => undefined); // A client was lost, which ends all; or the servers were quicker.
    // The first error ends the rest at once, and all are waited for: whoever reads it may start the next round.
    const work = [...serving, ...asking].map((one) =>
      one.catch((error: unknown) => (over.abort(error), Promise.reject(error))),
    );
    const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected');
    answered.abort();
    if (failed) throw over.signal.reason;
    return tests.map((test) => judgeLink(test, bandwidthOf(answers.get(test)!, servers.get(test)), waive));
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

interface Asking {
  readonly seconds: number;
  /** Where the last output of each client goes. */
  readonly answers: Map<LinkTest, Output>;
  readonly isOver: (test: LinkTest) => boolean;
  readonly ends: AbortSignal;
}

/**
 * Runs all clients of a host side by side in one round trip (a session for each would be hundreds of ssh processes in
 * a large round), and those again whose server does not listen yet; the last output, refused or not, is the answer.
 */
async function measure(
  host: Host,
  tests: readonly LinkTest[],
  { seconds, answers, isOver, ends }: Asking,
): Promise<void> {
  const until = performance.now() + CONNECT_LIMIT_MS;
  for (let waiting = tests; waiting.length > 0;) {
    const over = new Set(waiting.filter(isOver)); // Asked before the try: a server that ends during it may have served it.
    const outputs = await host.runAll(
      waiting.map((test) => clientOf(test, seconds)),
      { parallel: true },
    );
    waiting.forEach((test, index) => answers.set(test, outputs[index]!));
    const late = performance.now() > until;
    waiting = waiting.filter((test) => isRefused(answers.get(test)!) && !over.has(test) && !late);
    if (waiting.length > 0) await pause(RETRY_EVERY_MS, undefined, { signal: ends }).catch(() => undefined);
  }
}

const isRefused = ({ exitCode, stdout, stderr }: Output): boolean =>
  exitCode !== 0 && REFUSED.test(`${stderr}\n${stdout}`);

/** What the client measured; where it has nothing, its reason and that of its server, which often is the real one. */
function bandwidthOf(client: Output, server: Output | undefined): Reading<LinkBandwidth> {
  const measured = read(ibWriteBw, client);
  if (measured.value || !server) return measured; // A server that was ended has nothing to say.
  const other = read(ibWriteBw, server);
  return { why: other.value ? measured.why : `${measured.why}; on the other end: ${other.why}` };
}
