import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Role } from '../../src/plan/types.ts';
import type { InProcess } from './local-host.ts';

/**
 * An engine of which a test decides each answer: what no real engine can be made to do on demand. It generates nothing
 * and knows no other half; the simulated engine of src/sim is the one that does.
 */
export interface StandIn extends InProcess {
  readonly url: string;
  /** Bodies of the generation requests, as they came. */
  readonly bodies: string[];
  readonly keys: (string | undefined)[];
  answers: Answers;
  /** Ends it as a crash would. */
  exit(code: number): void;
  readonly listening: Promise<void>;
}

export interface Answers {
  role?: string;
  model?: string;
  /** Status of /ready, 404 for an SGLang below 0.5.20, and of /health_generate. */
  ready?: number;
  health?: number;
  /** /v1/loads */
  running?: number;
  /** Value of sglang:num_requests_total. Default: the generation requests it had. */
  counted?: number;
  /** Status and body of a generation request that is not streamed. */
  completion?: { status: number; body: unknown };
  /** `data:` of the events of a stream; "CUT" destroys the connection. */
  events?: readonly string[];
  /** Milliseconds before the first event and between events. */
  eventMs?: number;
  /** Told of each request before it is answered. */
  asked?: (path: string) => void | Promise<void>;
}

const text = (token: string, finish: string | null = null) =>
  JSON.stringify({ object: 'text_completion', choices: [{ index: 0, text: token, finish_reason: finish }] });
const usage = JSON.stringify({ object: 'text_completion', choices: [], usage: { completion_tokens: 3 } });

export const GOOD_EVENTS = [text('a'), text('b'), text('c'), text('', 'length'), usage, '[DONE]'];
export const event = text;

export function standIn(address: string, port: number, role: Role, answers: Answers = {}): StandIn {
  const url = `http://${address}:${port}`;
  const bodies: string[] = [];
  const keys: (string | undefined)[] = [];
  let exit!: (code: number) => void;
  const exited = new Promise<number>((resolve) => (exit = resolve));
  const at: { answers: Answers } = { answers };

  const server = createServer((request, response) => void answer(request, response));
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { ready = 200, health = 200, running = 0, model = 'm' } = at.answers;
    const path = new URL(request.url!, url).pathname;
    response.shouldKeepAlive = false; // Or the next test would meet a connection of this one.
    let body = '';
    for await (const bytes of request) body += String(bytes);
    keys.push(request.headers.authorization);
    await at.answers.asked?.(path);
    const json = (value: unknown, status = 200) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    switch (path) {
      case '/ready':
        return void response.writeHead(ready).end();
      case '/health':
      case '/health_generate':
        return void response.writeHead(health).end();
      case '/v1/models':
        return void json({ object: 'list', data: [{ id: model, object: 'model' }] });
      case '/v1/loads':
        return void json({
          version: '0.5.23',
          loads: [
            { num_running_reqs: running, num_waiting_reqs: 0, disaggregation: { mode: at.answers.role ?? role } },
          ],
        });
      case '/metrics':
        return void response.end(
          `sglang:num_requests_total{engine_type="${role}"} ${(at.answers.counted ?? bodies.length).toFixed(1)}\n`,
        );
      case '/v1/completions':
        bodies.push(body);
        if ((JSON.parse(body) as { stream?: boolean }).stream) return await events(response);
        return completion(json);
      default:
        return void json({ detail: 'Not Found' }, 404);
    }
  }
  function completion(json: (value: unknown, status: number) => unknown): void {
    const { status, body } = at.answers.completion ?? {
      status: 200,
      body: { choices: [{ text: 'abc', finish_reason: 'length' }], usage: { completion_tokens: 3 } },
    };
    json(body, status);
  }
  async function events(response: ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'transfer-encoding': 'chunked' });
    for (const data of at.answers.events ?? GOOD_EVENTS) {
      await new Promise((resolve) => setTimeout(resolve, at.answers.eventMs ?? 0));
      if (data === 'CUT') return void response.destroy();
      response.write(`data: ${data}\n\n`);
    }
    response.end();
  }
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, address, resolve);
  });
  const end = (code: number) => {
    server.closeAllConnections();
    server.close(() => exit(code));
  };
  return {
    url,
    bodies,
    keys,
    exited,
    listening,
    get answers() {
      return at.answers;
    },
    set answers(next) {
      at.answers = next;
    },
    exit: end,
    signal: (name) => end(name === 'SIGKILL' ? 137 : 0),
  };
}
