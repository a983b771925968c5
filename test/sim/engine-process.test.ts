import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { once } from 'node:events';
import { afterEach, beforeAll, expect, it } from '@jest/globals';
import { eventually } from '../support/processes.ts';
import { chatBody, endAll, freshAddress, modelFolder, serve } from './engine-support.ts';

/** The same engine as a process of its own, from the build. */
const MAIN = new URL('../../dist/src/sim/engine/main.js', import.meta.url).pathname;
let model = '';
beforeAll(async () => {
  if (!existsSync(MAIN)) throw new Error('The build is missing: run npm run setup');
  model = await modelFolder();
});
interface Launched {
  readonly child: ChildProcess;
  readonly host: string;
  log: string;
  readonly exited: Promise<unknown>;
}
const children: Launched[] = [];
afterEach(async () => {
  for (const { child } of children) child.kill('SIGKILL');
  await Promise.all(children.splice(0).map(({ exited }) => exited));
  await endAll();
});

function launch(args: readonly string[]): Launched {
  const host = freshAddress();
  const more = JSON.stringify({ timing: { startSeconds: 0.04, warmupSeconds: 0.02, secondMs: 20 } });
  const child = spawn(process.execPath, [MAIN, '--model-path', model, '--host', host, '--port', '30000', ...args], {
    env: { TANDEM_SIM_ENGINE: more, SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '1000' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const started: Launched = { child, host, log: '', exited: once(child, 'exit') };
  child.stdout.on('data', (part: Buffer) => (started.log += part.toString()));
  children.push(started);
  return started;
}

const prefillProcess = async () => {
  const engine = launch(['--disaggregation-mode', 'prefill', '--disaggregation-bootstrap-port', '8998']);
  await eventually(() => engine.log.includes('fired up'));
  return engine;
};

const askHalves = (host: string, decodeUrl: string, room: number) => {
  const body = JSON.stringify(chatBody({ bootstrap_host: host, bootstrap_port: 8998, bootstrap_room: room }));
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
  return [`http://${host}:30000`, decodeUrl].map((url) => fetch(`${url}/v1/chat/completions`, init));
};

it('meets its other half in another process and drains at SIGTERM', async () => {
  const prefill = await prefillProcess();
  const decode = await serve({ role: 'decode', model });
  const answers = await Promise.all(askHalves(prefill.host, decode.url, 1));
  expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  prefill.child.kill('SIGTERM');
  expect(await prefill.exited).toEqual([0, null]);
  expect(prefill.log).toMatch(/SIGTERM received[^]*Remaining number of requests 0/);
});

it('stands still between the kernel’s SIGSTOP and SIGCONT, its requests with it', async () => {
  const prefill = await prefillProcess();
  const decode = await serve({ role: 'decode', model });
  prefill.child.kill('SIGSTOP');
  const answers = Promise.all(askHalves(prefill.host, decode.url, 2));
  await eventually(async () => (await decode.load()).num_waiting_reqs === 1);
  expect(await Promise.race([answers, new Promise((resolve) => setTimeout(resolve, 150, 'silence'))])).toBe('silence');
  prefill.child.kill('SIGCONT');
  expect((await answers).map(({ status }) => status)).toEqual([200, 200]);
});

it('leaves its usage and the reason in the log and exits with 2 on a wrong flag', async () => {
  const engine = launch(['--no-such-flag', '1']);
  expect(await engine.exited).toEqual([2, null]);
  expect(engine.log).toMatch(/usage: sglang serve[^]*error: unrecognized arguments: --no-such-flag 1\n$/);
});
