import { createServer } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine, NicView } from './machine.ts';
import type { ToolCall } from './tool-server.ts';
import { parseArgs, UnknownFlag, type FlagTable } from './tools/tool.ts';

/**
 * `ib_write_bw` between simulated hosts. The server really listens on its port until its client comes, so a taken port
 * and an absent server show as on real hosts. A NIC that is in two tests at once gives each of them half.
 */
export class BandwidthTests {
  readonly #waiting = new Map<string, Waiting>();
  readonly #running = new Set<RunningTest>();
  readonly #secondMs: number;
  readonly #hostAt: (address: string) => Machine | undefined;

  constructor(secondMs: number, hostAt: (address: string) => Machine | undefined) {
    this.#secondMs = secondMs;
    this.#hostAt = hostAt;
  }

  /** Runs the tool and returns its exit code. */
  async run(machine: Machine, call: ToolCall): Promise<number> {
    const options = readOptions(machine, call.argv.slice(1));
    if (typeof options === 'string') {
      call.stderr(options);
      return 1;
    }
    const obstacle = obstacleOf(options);
    if (obstacle !== undefined) {
      call.stderr(obstacle);
      return 1;
    }
    return options.server === undefined
      ? this.#serve(machine, options, call)
      : this.#connect(machine, options, options.server, call);
  }

  async #serve(machine: Machine, options: Options, call: ToolCall): Promise<number> {
    const key = keyOf(machine, options.port);
    const socket = createServer((client) => client.destroy());
    try {
      socket.listen(options.port, machine.scenario.address);
      await once(socket, 'listening');
    } catch {
      call.stderr(
        ` Couldn't bind/listen on port ${options.port}\n Unable to open file descriptor for socket connection\n Unable to init the socket connection\n`,
      );
      return 1;
    }
    call.stdout(
      '\n************************************\n* Waiting for client to connect... *\n************************************\n',
    );
    const test = await new Promise<RunningTest | undefined>((resolve) => {
      this.#waiting.set(key, { machine, options, join: resolve });
      call.signal.addEventListener('abort', () => resolve(undefined));
    });
    this.#waiting.delete(key);
    socket.close();
    return test ? this.#finish(test, options, call) : 1;
  }

  async #connect(machine: Machine, options: Options, server: string, call: ToolCall): Promise<number> {
    const target = this.#hostAt(server);
    const key = target && keyOf(target, options.port);
    const waiting = key === undefined ? undefined : this.#waiting.get(key);
    if (!waiting) {
      call.stderr(
        `Couldn't connect to ${server}:${options.port}\n Unable to open file descriptor for socket connection\n Unable to init the socket connection\n`,
      );
      return 1;
    }
    this.#waiting.delete(key!);
    const nics = [nicKey(machine, options.nic), nicKey(waiting.machine, waiting.options.nic)];
    const test: RunningTest = {
      nics,
      rates: [options.nic, waiting.options.nic].map((nic) => nic.rateGbps * nic.efficiency),
      shared: new Set(),
      over: new AbortController(),
      done: Promise.resolve(),
    };
    for (const other of this.#running) {
      for (const nic of nics.filter((one) => other.nics.includes(one))) {
        test.shared.add(nic);
        other.shared.add(nic);
      }
    }
    this.#running.add(test);
    const seconds = options.seconds ?? 1;
    test.done = sleep(seconds * this.#secondMs, undefined, { signal: test.over.signal }).then(
      () => void this.#running.delete(test),
      () => void this.#running.delete(test),
    );
    waiting.join(test);
    return this.#finish(test, options, call);
  }

  async #finish(test: RunningTest, options: Options, call: ToolCall): Promise<number> {
    call.signal.addEventListener('abort', () => test.over.abort());
    call.stdout(preamble(options));
    await test.done;
    if (test.over.signal.aborted) {
      call.stderr(' Completion with error at client\n Failed status 12: wr_id 0 syndrom 0x81\nscnt=128, ccnt=0\n');
      return 1;
    }
    const gbps = Math.min(...test.nics.map((nic, at) => test.rates[at]! / (test.shared.has(nic) ? 2 : 1)));
    call.stdout(resultRow(gbps, options));
    return 0;
  }
}

interface Waiting {
  readonly machine: Machine;
  readonly options: Options;
  join(test: RunningTest): void;
}

interface RunningTest {
  readonly nics: readonly string[];
  readonly rates: readonly number[];
  /** Those of its NICs that another test used at the same time. */
  readonly shared: Set<string>;
  /** Aborted when one end was killed. */
  readonly over: AbortController;
  done: Promise<void>;
}

interface Options {
  readonly nic: NicView;
  readonly port: number;
  readonly gidIndex: number | undefined;
  readonly seconds: number | undefined;
  readonly gigabits: boolean;
  readonly qps: number;
  readonly size: number;
  readonly server: string | undefined;
}

const keyOf = (machine: Machine, port: number) => `${machine.scenario.name}:${port}`;
const nicKey = (machine: Machine, nic: NicView) => `${machine.scenario.name}/${nic.device}`;

const FLAGS: FlagTable = {
  '-d': 'value',
  '--ib-dev': 'value',
  '-x': 'value',
  '--gid-index': 'value',
  '-q': 'value',
  '--qp': 'value',
  '-F': 'bare',
  '--CPU-freq': 'bare',
  '--report_gbits': 'bare',
  '-D': 'value',
  '--duration': 'value',
  '-p': 'value',
  '--port': 'value',
  '-i': 'value',
  '--ib-port': 'value',
  '-s': 'value',
  '--size': 'value',
  '-m': 'value',
  '--mtu': 'value',
  '-t': 'value',
  '-n': 'value',
  '--iters': 'value',
  '--tclass': 'value',
};

function readOptions(machine: Machine, args: readonly string[]): Options | string {
  let parsed;
  try {
    parsed = parseArgs(args, FLAGS);
  } catch (error) {
    if (!(error instanceof UnknownFlag)) throw error;
    const { flag } = error;
    return `ib_write_bw: ${flag.startsWith('--') ? `unrecognized option '${flag}'` : `invalid option -- '${flag.slice(1)}'`}\n Invalid Command or flag. Please check command line and run again.\n\n`;
  }
  const { flags, words } = parsed;
  const value = (...names: string[]) => names.flatMap((name) => flags.get(name) ?? []).at(-1);
  const number = (...names: string[]) => (value(...names) === undefined ? undefined : Number(value(...names)));
  const device = value('-d', '--ib-dev');
  const nic = device === undefined ? machine.nics[0] : machine.nics.find((one) => one.device === device);
  if (!nic)
    return device === undefined
      ? ' No IB devices found\n'
      : ` IB device ${device} not found\n Unable to find the Infiniband/RoCE device\n`;
  return {
    nic,
    port: number('-p', '--port') ?? 18_515,
    gidIndex: number('-x', '--gid-index'),
    seconds: number('-D', '--duration'),
    gigabits: flags.has('--report_gbits'),
    qps: number('-q', '--qp') ?? 1,
    size: number('-s', '--size') ?? 65_536,
    server: words[0],
  };
}

function obstacleOf({ nic, gidIndex }: Options): string | undefined {
  if (nic.state !== 'ACTIVE')
    return ` Port number 1 state is ${nic.state === 'DOWN' ? 'Down' : 'Init'}\n Couldn't set the link layer\n Couldn't get context for the device\n`;
  if (nic.linkLayer === 'Ethernet' && gidIndex !== undefined && !nic.gids.some(({ index }) => index === gidIndex)) {
    return " Failed to modify QP to RTR\n Unable to Connect the HCA's through the link\n";
  }
  return undefined;
}

const RULE = `${'-'.repeat(87)}\n`;

const preamble = ({ nic, gidIndex, qps }: Options) =>
  `${RULE}                    RDMA_Write BW Test\n Dual-port       : OFF\t\tDevice         : ${nic.device}\n Number of qps   : ${qps}\t\tTransport type : IB\n Connection type : RC\t\tUsing SRQ      : OFF\n PCIe relax order: ON\n ibv_wr* API     : OFF\n TX depth        : 128\n CQ Moderation   : 1\n Mtu             : ${nic.mtu}[B]\n Link type       : ${nic.linkLayer === 'Ethernet' ? 'Ethernet' : 'IB'}\n${gidIndex === undefined ? '' : ` GID index       : ${gidIndex}\n`} Max inline data : 0[B]\n rdma_cm QPs\t : OFF\n Data ex. method : Ethernet\n${RULE} local address: LID 0000 QPN 0x2c0a PSN 0x6d3a1e RKey 0x2000301 VAddr 0x007f2a40010000\n remote address: LID 0000 QPN 0x2c0b PSN 0xb24efd RKey 0x2000302 VAddr 0x007f9c80010000\n${RULE}`;

function resultRow(gbps: number, { gigabits, seconds, size }: Options): string {
  const unit = gigabits ? 'Gb/sec' : 'MB/sec';
  const shown = gigabits ? gbps : (gbps * 1e9) / 8 / 2 ** 20;
  const messages = (gbps * 1e9) / 8 / size / 1e6;
  const iterations = Math.round(messages * 1e6 * (seconds ?? 1));
  // With a duration the tool measures no peak.
  const peak = seconds === undefined ? shown * 1.005 : 0;
  return ` #bytes     #iterations    BW peak[${unit}]    BW average[${unit}]   MsgRate[Mpps]\n ${String(size).padEnd(11)}${String(iterations).padEnd(15)}${peak.toFixed(2).padEnd(19)}${shown.toFixed(2).padEnd(21)}${messages.toFixed(6)}\n${RULE}`;
}
