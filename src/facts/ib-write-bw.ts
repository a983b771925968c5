import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/** One-way bandwidth that a test measured. */
export interface LinkBandwidth {
  /** Gigabits (10^9) per second in one direction: half of the sum that a bidirectional test prints. */
  readonly averageGbps: number;
  /** Message size it was measured with, in bytes. */
  readonly messageBytes: number;
}

export interface BandwidthTest {
  readonly device: string;
  /** Absent on InfiniBand, which needs none. */
  readonly gidIndex?: number;
  readonly seconds: number;
  readonly port: number;
  /** Address of the other end; absent on the end that waits. */
  readonly server?: string;
}

/** Lines by which a test says that it failed; the exit code alone is not to be trusted. */
const FAILED = /Completion with error|Failed status|Failed to |Couldn't |Unable to |\bfailed: |Couldnt |error -?\d/i;

/** RDMA write bandwidth of a link. Source: perftest(1); "MB/sec" there is 2^20 bytes. */
export const ibWriteBw: Fact<LinkBandwidth, [test: BandwidthTest]> = {
  name: 'ib-write-bw',
  command: ({ device, gidIndex, seconds, port, server }) => [
    'ib_write_bw',
    '-d',
    device,
    ...(gidIndex === undefined ? [] : ['-x', String(gidIndex)]),
    '-F',
    '--report_gbits',
    '-D',
    String(seconds),
    '-p',
    String(port),
    ...(server === undefined ? [] : [server]),
  ],
  timeoutMs: 60_000,
  parse(output) {
    const failure = [...linesOf(output.stderr), ...linesOf(output.stdout)].find((line) => FAILED.test(line));
    if (failure !== undefined) throw new SyntaxError(`ib_write_bw failed: ${failure.trim()}`);
    assertEndedWell('ib_write_bw', output);
    const rows = rowsIn(output.stdout);
    if (rows.length === 0) {
      throw new SyntaxError(
        linesOf(output.stdout).some((line) => /^\*? ?Waiting for client/i.test(line.trimStart()))
          ? 'ib_write_bw waited for its other end and printed no result'
          : /BW Test|BW average\[/.test(output.stdout)
            ? 'ib_write_bw printed no result row'
            : whyNothing('ib_write_bw', output),
      );
    }
    const largest = rows.reduce((best, row) => (row.bytes >= best.bytes ? row : best));
    const gbps = gbpsOf(largest, unitsIn(output.stdout));
    const directions = /Bidirectional BW Test/.test(output.stdout) ? 2 : 1;
    return { averageGbps: Math.round((gbps / directions) * 100) / 100, messageBytes: largest.bytes };
  },
};

interface Row {
  readonly bytes: number;
  readonly average: number;
  readonly messagesPerSecond: number;
}

/** Five numbers: bytes, iterations, peak, average, million messages per second. Zero is no bandwidth but no result. */
const rowsIn = (text: string): readonly Row[] =>
  linesOf(text).flatMap((line) => {
    const cells = line.trim().split(/\s+/);
    if (cells.length !== 5 || !cells.every((cell) => /^\d+(?:\.\d+)?$/.test(cell))) return [];
    const [bytes, , , average, rate] = cells.map(Number) as [number, number, number, number, number];
    return average > 0 ? [{ bytes, average, messagesPerSecond: rate * 1e6 }] : [];
  });

const GBPS_PER_UNIT = { 'Gb/sec': 1, 'MB/sec': (2 ** 20 * 8) / 1e9, 'MiB/sec': (2 ** 20 * 8) / 1e9 } as const;
type Unit = keyof typeof GBPS_PER_UNIT;

const unitsIn = (text: string): readonly Unit[] => [
  ...new Set([...text.matchAll(/BW average\[(Gb\/sec|Mi?B\/sec)\]/g)].map(([, unit]) => unit as Unit)),
];

/** When two processes printed into one stream, headers may disagree: the message rate says which one the row belongs to. */
function gbpsOf({ bytes, average, messagesPerSecond }: Row, units: readonly Unit[]): number {
  const values = units.map((unit) => average * GBPS_PER_UNIT[unit]);
  if (values.length === 1) return values[0]!;
  const byRate = (messagesPerSecond * bytes * 8) / 1e9;
  const near = values.find((value) => Math.abs(value - byRate) <= 0.05 * byRate);
  if (near === undefined) throw new SyntaxError('ib_write_bw told no unit for its result');
  return near;
}
