import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { linesOf } from './lines.ts';

/** A TCP socket that listens. */
export interface Listener {
  /** "0.0.0.0", "*" and "[::]" stand for every address. */
  readonly address: string;
  readonly port: number;
}

/** TCP ports that are taken. Source: ss(8); a host where nothing listens prints nothing. */
export const listeningPorts: Fact<readonly Listener[]> = {
  name: 'listening-ports',
  command: () => ['ss', '-Hltn'],
  timeoutMs: 10_000,
  parse(output) {
    assertEndedWell('ss', output);
    return linesOf(output.stdout)
      .filter((line) => line.trim() !== '' && !line.startsWith('State'))
      .map((line) => {
        const [state, , , socket = ''] = line.trimEnd().split(/\s+/);
        const colon = socket.lastIndexOf(':');
        const port = socket.slice(colon + 1);
        if (state !== 'LISTEN' || colon < 1 || !/^\d{1,5}$/.test(port)) {
          throw new SyntaxError(whyNothing('ss', { ...output, stdout: line }));
        }
        return { address: socket.slice(0, colon), port: Number(port) };
      });
  },
};
