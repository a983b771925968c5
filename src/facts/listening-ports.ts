import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';

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
    return output.stdout
      .split('\n')
      .filter((line) => line.trim() !== '' && !line.startsWith('State'))
      .map((line) => {
        const socket = /^LISTEN\s+\d+\s+\d+\s+(\S+):(\d+)\s/.exec(`${line} `);
        if (!socket) throw new SyntaxError(whyNothing('ss', { ...output, stdout: line }));
        return { address: socket[1]!, port: Number(socket[2]) };
      });
  },
};
