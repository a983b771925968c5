import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { routerArgv } from '../../src/sglang/router-argv.ts';
import { flagList } from '../../src/spec/flags.ts';
import type { ManagedRouterSpec } from '../../src/spec/schema.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import { aSpec } from '../support/specs.ts';

const router = (overrides: Partial<ManagedRouterSpec> = {}): ManagedRouterSpec =>
  aSpec({ router: { host: 'router-0', ...overrides } }).router as ManagedRouterSpec;

describe('the command line of a router', () => {
  it('starts smg empty, at its own address, with short waits', () => {
    expect(routerArgv(router(), '10.0.0.3').join(' ')).toBe(
      'python3 -m smg.launch_router --pd-disaggregation --host 10.0.0.3 --port 30000 --policy cache_aware' +
        ' --health-check-interval-secs 5 --prometheus-host 10.0.0.3 --prometheus-port 29000' +
        ' --retry-max-retries 10 --worker-startup-check-interval 1 --worker-startup-timeout-secs 110',
    );
  });

  it.each([
    ['smg', '1.13.0'],
    ['smg', '1.12.0'],
    ['sglang-router', '0.3.2'],
  ] as const)('has only flags that %s %s knows', (implementation, version) => {
    const { flags } = flagList(implementation, version)!;
    const used = routerArgv(router({ implementation, version }), '10.0.0.3').filter((word) => word.startsWith('--'));
    expect(used.filter((flag) => !(flag.slice(2) in flags))).toEqual([]);
    expect(used).toContain('--retry-max-retries');
  });

  it('takes the user’s flags before its own defaults, in whatever spelling, and never keys', () => {
    const argv = routerArgv(
      router({
        args: { 'retry-max-retries': 3, 'health-check-int': 2, 'log-level': 'warn' },
        apiKey: { fromEnv: 'KEY' },
      }),
      '10.0.0.3',
    );
    expect(argv.filter((word) => word.startsWith('--retry') || word.startsWith('--health'))).toEqual([
      '--health-check-interval-secs',
      '--retry-max-retries',
    ]);
    expect(argv).toEqual(expect.arrayContaining(['--retry-max-retries', '3', '--log-level', 'warn']));
    expect(argv.join(' ')).not.toContain('KEY');
  });

  it('prints metrics at another port than a second router of the host', () => {
    const ports = [30000, 30001, 1024].map((port) => {
      const argv = routerArgv(router({ port }), '10.0.0.3');
      return argv[argv.indexOf('--prometheus-port') + 1];
    });
    expect(ports).toEqual(['29000', '29001', '2024']);
  });

  it('starts with the user’s own program', () => {
    expect(routerArgv(router({ command: ['/opt/smg', 'launch'] }), '10.0.0.3').slice(0, 3)).toEqual([
      '/opt/smg',
      'launch',
      '--pd-disaggregation',
    ]);
  });
});

const python = join(import.meta.dirname, '../../.venv/bin/python');

(existsSync(python) ? describe : describe.skip)('a real smg', () => {
  let child: ChildProcess | undefined;
  afterEach(async () => {
    if (!child || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  });

  it('starts with that command line, without engines, and serves at that address alone', async () => {
    const address = '127.78.0.1';
    const argv = routerArgv(router({ port: 30078 }), address);
    const smg = (child = spawn(python, argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] }));
    let output = '';
    smg.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    smg.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const get = (url: string) => fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) }).catch(() => undefined);
    const listed = await eventually(async () => {
      if (smg.exitCode !== null) throw new Error(`it ended with ${smg.exitCode}: ${output}`);
      return await get(`http://${address}:30078/workers`);
    });
    expect(await listed.json()).toMatchObject({ workers: [] });
    expect((await get(`http://${address}:29078/metrics`))?.status).toBe(200);
    expect(await get('http://127.78.0.2:30078/workers')).toBeUndefined();
    expect(await get('http://127.78.0.2:29078/metrics')).toBeUndefined();
  });
});
