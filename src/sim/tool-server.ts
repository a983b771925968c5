import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A call of a tool on a simulated host, as its script tells it. */
export interface ToolCall {
  /** Name of the tool and its arguments. */
  readonly argv: readonly string[];
  readonly cwd: string;
  /** Process id of the script; of the tool, when it goes on as another program. */
  readonly pid: number;
  readonly env: Readonly<Record<string, string>>;
  /** Only where the script reads it. */
  readonly stdin: string;
  /** Aborted when the script ended before the answer. */
  readonly signal: AbortSignal;
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** How a call ends: with an exit code, killed, or with the script going on, as other words where there are some. */
export type ToolEnd =
  | number
  | 'killed'
  | { readonly run: readonly string[]; readonly env?: Readonly<Record<string, string>> };

export interface ToolServer {
  readonly port: number;
  /** From now on calls with this token are answered by `handle`. */
  serve(token: string, handle: (call: ToolCall) => Promise<ToolEnd>): void;
  close(): Promise<void>;
}

/** Answers the scripts of bin.ts: NUL-ended fields come in, records with a length go out. */
export async function startToolServer(log: (line: string) => void): Promise<ToolServer> {
  const handlers = new Map<string, (call: ToolCall) => Promise<ToolEnd>>();
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket.setNoDelay(true));
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy()); // The script was killed.
    let received = Buffer.alloc(0);
    const read = (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      const request = parseRequest(received);
      if (!request) return;
      socket.off('data', read);
      const handle = handlers.get(request.token);
      if (handle) void answer(socket, request, handle, log);
      else socket.destroy();
    };
    socket.on('data', read);
  });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    serve: (token, handle) => void handlers.set(token, handle),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function answer(
  socket: Socket,
  { argv, cwd, pid, env, stdin }: Request,
  handle: (call: ToolCall) => Promise<ToolEnd>,
  log: (line: string) => void,
): Promise<void> {
  const gone = new AbortController();
  socket.on('close', () => gone.abort());
  socket.resume(); // Without a reader the end of the script would not be seen.
  const say = (kind: 'o' | 'e' | 'a' | 'v', text: string) => {
    const bytes = Buffer.from(text.replaceAll('\0', ''));
    socket.write(Buffer.concat([Buffer.from(`${kind} ${bytes.length}\n`), bytes]));
  };
  const call: ToolCall = {
    argv,
    cwd,
    pid,
    env,
    stdin,
    signal: gone.signal,
    stdout: (text) => say('o', text),
    stderr: (text) => say('e', text),
  };
  try {
    const end = await handle(call);
    if (end === 'killed') socket.end('k 0\n');
    else if (typeof end === 'number') socket.end(`x ${end}\n`);
    else {
      for (const [name, value] of Object.entries(end.env ?? {})) say('v', `${name}=${value}`);
      for (const word of end.run) say('a', word);
      socket.end('r 0\n');
    }
  } catch (error) {
    if (gone.signal.aborted) return;
    log(`simulated ${argv.join(' ')}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    say('e', `the simulator failed: ${error instanceof Error ? error.message : String(error)}\n`);
    socket.end('x 255\n');
  }
}

interface Request extends Omit<ToolCall, 'signal' | 'stdout' | 'stderr'> {
  readonly token: string;
}

/** token, tool, cwd, pid, n, n arguments, m, m × NAME=value, stdin; undefined while it is not complete. */
function parseRequest(received: Buffer): Request | undefined {
  if (received.at(-1) !== 0) return undefined;
  const fields = received.subarray(0, -1).toString().split('\0');
  const count = Number(fields[4]);
  const envCount = Number(fields[5 + count]);
  if (!Number.isInteger(count) || !Number.isInteger(envCount)) return undefined;
  if (fields.length < 5 + count + 1 + envCount + 1) return undefined;
  const [token, tool, cwd, pid] = fields as [string, string, string, string];
  const env = fields.slice(6 + count, 6 + count + envCount).map((line): [string, string] => {
    const equals = line.indexOf('=');
    return [line.slice(0, equals), line.slice(equals + 1)];
  });
  return {
    token,
    argv: [tool, ...fields.slice(5, 5 + count)],
    cwd,
    pid: Number(pid),
    env: Object.fromEntries(env),
    stdin: fields[6 + count + envCount]!,
  };
}
