import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createRouterActivities } from '../../activities/router.ts';
import { createConfirmActivities } from '../../activities/confirm.ts';
import { routerClient } from '../../src/drivers/router-client.ts';
import type { DeployError } from '../../src/errors.ts';
import type { ManagedRouterPlan } from '../../src/plan/types.ts';
import { localDrivers, localHost, type LocalHost } from '../support/local-host.ts';
import { patientSeconds } from '../support/patience.ts';
import { anEngine, aRouter } from '../support/plan-rows.ts';
import { standIn, type StandIn } from '../support/stand-in-engine.ts';

const owner = { cluster: 'c', installation: 'inst' };
const secrets = { CLIENT: 'client-key-marker', ADMIN: 'admin:key-marker', ENGINE: 'engine-key-marker' };
/** Runs inside the router's own Python from its first moment, which a look from outside may miss on a busy machine. */
const SAMPLER = `
import os, threading, time
out = open(os.path.join(os.environ['HOME'], 'cmdlines'), 'a')
last = None
def look():
    global last
    line = open('/proc/self/cmdline').read().replace(chr(10), ' ')
    if line != last:
        last = line
        print(line, file=out, flush=True)
def watch():
    while True:
        look()
        time.sleep(0.001)
look()
threading.Thread(target=watch, daemon=True).start()
`;
import { eventually } from '../support/processes.ts';
import { startSmg } from '../support/smg.ts';
const failure = async (promise: Promise<unknown>): Promise<DeployError> =>
  await promise.then(
    (value) => {
      throw new Error(`it succeeded: ${JSON.stringify(value)}`);
    },
    (error: DeployError) => error,
  );

let last = 10;
/** An engine of its own on its own address, in its test only. */
async function engineOf(role: 'prefill' | 'decode', answers: StandIn['answers'] = {}) {
  last += 1;
  const address = `127.84.6.${last}`;
  const running = standIn(address, 30000, role, answers);
  await running.listening;
  engines.push(running);
  return { running, row: anEngine(role, { host: 'h0', address, name: `tandem-c-${role}-${last}-1` }) };
}
/** A decode engine that says it is not healthy. */
async function silentEngine() {
  const engine = await engineOf('decode');
  engine.running.answers = { health: 503, ready: 503 };
  return engine;
}
/** An external smg at an address, without keys. */
const externalSmg = (address: string) =>
  ({
    kind: 'external',
    url: `http://${address}:30000`,
    implementation: 'smg',
    version: '1.13.0',
    pairingKeys: true,
  }) as const;
let engines: StandIn[] = [];
afterEach(async () => {
  for (const engine of engines) engine.exit(0);
  await Promise.all(engines.map(({ exited }) => exited));
  engines = [];
});

describe('a managed router (real smg) with keys', () => {
  let host: LocalHost;
  let router: ManagedRouterPlan;
  const commandLines = new Set<string>();
  const activities = () => createRouterActivities(localDrivers([host], secrets), { pollMs: 20 });
  const at = () => ({ router, routerRef: host.ref, ref: host.ref });
  const wire = (row: ReturnType<typeof anEngine>, kvGeneration = 'gen-1', timeoutSeconds = patientSeconds(60)) =>
    activities().wireEngine({ ...at(), engine: row, kvGeneration, timeoutSeconds });
  const unwire = (row: ReturnType<typeof anEngine>, drainTimeoutSeconds = patientSeconds(30)) =>
    activities().unwireEngine({ ...at(), engine: row, drainTimeoutSeconds });
  const listed = async (url: string) => (await activities().routerEngines(at())).find((entry) => entry.url === url);
  const client = () => routerClient({ fetch: localDrivers([]).fetch, url: router.url, key: secrets.ADMIN });

  beforeAll(async () => {
    host = await localHost('h0', '127.84.5.1');
    router = aRouter({
      host: 'h0',
      address: '127.84.5.1',
      apiKey: { fromEnv: 'CLIENT' },
      adminKey: { fromEnv: 'ADMIN' },
      env: { PYTHONPATH: host.home },
    });
    await writeFile(join(host.home, 'sitecustomize.py'), SAMPLER);
    // Only processes that begin now, or one pass would take too long on a machine of many.
    const known = new Set(await readdir('/proc'));
    let watching = true;
    const watch = (async () => {
      while (watching) {
        const begun = (await readdir('/proc')).filter((pid) => /^\d+$/.test(pid) && !known.has(pid));
        const lines = begun.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''));
        for (const line of await Promise.all(lines)) commandLines.add(line);
      }
    })();
    const start = { ref: host.ref, router, ...owner };
    try {
      await activities().startRouter(start);
      await activities().startRouter(start);
      await activities().awaitRouter(start);
    } finally {
      watching = false;
      await watch;
    }
    for (const line of (await readFile(join(host.home, 'cmdlines'), 'utf8')).split('\n')) commandLines.add(line);
  });
  afterAll(async () => {
    await host.close();
  });

  it('is started once, and shows its keys in no process list at any moment', async () => {
    expect(host.units.get(router.name)!.starts).toBe(1);
    const ours = [...commandLines].filter((line) => line.includes('smg.launch_router'));
    expect(ours).not.toEqual([]); // Or nothing was looked at.
    expect([...commandLines].filter((line) => line.includes('key-marker'))).toEqual([]);
    const file = `${host.home}/.tandem/deployments/c-1/${router.name}-0/args.json`;
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(host.units.get(router.name)!.lines.join('\n')).not.toContain('key-marker');
  });

  it('gives its list only to the key of its control plane', async () => {
    const { fetch } = localDrivers([]);
    for (const key of [undefined, secrets.CLIENT]) {
      await expect(routerClient({ fetch, url: router.url, key }).list()).rejects.toThrow(/answered 401/);
    }
    expect(await client().list()).toEqual([]);
  });

  it('lists an engine ready under its key, once, however often it is wired, and with the engine’s own key', async () => {
    const { running, row } = await engineOf('prefill');
    const keyed = { ...row, apiKey: { fromEnv: 'ENGINE' } };
    await wire(keyed);
    await wire(keyed);
    const entries = (await activities().routerEngines(at())).filter(({ url }) => url === row.url);
    expect(entries).toEqual([
      expect.objectContaining({ role: 'prefill', bootstrapPort: 8998, ready: true, pairingKey: 'gen-1' }),
    ]);
    await eventually(() => running.keys.filter((key) => key === `Bearer ${secrets.ENGINE}`).length > 2);
    await unwire(keyed);
  });

  it('is never told of an engine in the wrong role', async () => {
    const { row } = await engineOf('decode', { role: 'prefill' });
    expect(await failure(wire(row))).toMatchObject({
      code: 'ENGINE_WRONG',
      message: expect.stringContaining('says its role is "prefill", it would be registered as "decode"'),
    });
    expect(await listed(row.url)).toBeUndefined();
  });

  it('corrects an entry that somebody made with another role or key', async () => {
    const { row } = await engineOf('prefill');
    await client().add({ url: row.url, role: 'decode', pairingKey: 'gen-0' });
    await eventually(async () => (await listed(row.url))?.ready === true);
    await wire(row);
    expect(await listed(row.url)).toMatchObject({ role: 'prefill', pairingKey: 'gen-1', ready: true });
    await wire(row, 'gen-2');
    expect(await listed(row.url)).toMatchObject({ pairingKey: 'gen-2', ready: true });
    await unwire(row);
  });

  it('waits for an engine that was restarted a moment ago', async () => {
    last += 1;
    const address = `127.84.6.${last}`;
    const row = anEngine('decode', { host: 'h0', address, name: `tandem-c-decode-${last}-1` });
    const wired = wire(row);
    const running = standIn(address, 30000, 'decode');
    engines.push(running);
    await wired;
    expect(await listed(row.url)).toMatchObject({ ready: true });
    await unwire(row);
  });

  it('keeps an engine until its own requests are over, by its own count, and gives it no new ones meanwhile', async () => {
    const { row, running } = await engineOf('decode', { running: 2 });
    await wire(row);
    let ended = false;
    const leaving = unwire(row).finally(() => (ended = true));
    await eventually(async () => (await listed(row.url))?.pairingKey === `cordon-${row.name}`);
    const before = running.keys.length;
    await eventually(() => running.keys.length > before + 4);
    expect(ended).toBe(false);
    expect(await listed(row.url)).toBeDefined();
    running.answers = { running: 0 };
    expect(await leaving).toEqual({ drained: true, openRequests: 0 });
    expect(await listed(row.url)).toBeUndefined();
  });

  it('lets an engine go when the drain limit has passed, and says what was cut', async () => {
    const { row } = await engineOf('decode', { running: 3 });
    await wire(row);
    expect(await unwire(row, 0.3)).toEqual({ drained: false, openRequests: 3 });
    expect(await listed(row.url)).toBeUndefined();
  });

  it('lets an engine go that is dead, and one that was never listed', async () => {
    const { row, running } = await engineOf('decode');
    await wire(row);
    running.exit(137);
    await running.exited;
    expect(await unwire(row)).toEqual({ drained: true, openRequests: 0 });
    expect(await unwire(row)).toEqual({ drained: true, openRequests: 0 });
  });

  it('takes a cordoned engine back under its key', async () => {
    const { row } = await engineOf('decode');
    await wire(row);
    await client().rekey((await listed(row.url))!.id, { pairingKey: `cordon-${row.name}` });
    await activities().rewireEngine({ ...at(), engine: row, kvGeneration: 'gen-1' });
    expect(await listed(row.url)).toMatchObject({ pairingKey: 'gen-1', ready: true });
    await unwire(row);
  });

  it('is confirmed only when it lists exactly the planned engines under their key', async () => {
    const { row } = await engineOf('prefill');
    const { row: stranger } = await engineOf('decode');
    await wire(row);
    await wire(stranger, 'gen-0');
    const activity = createConfirmActivities(localDrivers([host], secrets));
    const planned = (...rows: readonly (typeof row)[]) => ({
      ...at(),
      engines: rows.map((one) => ({ ...one, kvGeneration: 'gen-1' })),
    });
    expect((await failure(activity.confirmRouter(planned(row)))).evidence).toBe(
      `${stranger.url} (decode) is listed and not in the plan`,
    );
    const absent = anEngine('decode', { host: 'h0', address: '127.84.6.9' });
    expect((await failure(activity.confirmRouter(planned(row, stranger, absent)))).evidence).toBe(
      `${stranger.name} is listed with key gen-0, the plan has gen-1\n${absent.name} (${absent.url}) is not listed`,
    );
    await unwire(stranger);
    await activity.confirmRouter(planned(row));
    await unwire(row);
  });

  // The last one: smg may list the engine once more for the former try.
  it('says what it last saw of an engine that never answers, and forgets it', async () => {
    const { row, running } = await silentEngine();
    const error = await failure(wire(row, 'gen-1', 2));
    expect(error).toMatchObject({ code: 'ROUTER_FAILED', message: expect.stringContaining('last seen: not listed') });
    running.answers = {};
    await wire(row); // Nothing of the former try is in the way.
    await unwire(row);
  });
});

describe('smg', () => {
  /** One that asks an engine which it is to list for so many seconds. */
  const withSmg = async (
    address: string,
    seconds: number,
    use: (router: ReturnType<typeof externalSmg>, client: ReturnType<typeof routerClient>) => Promise<void>,
  ) => {
    const smg = await startSmg(address, ['--worker-startup-timeout-secs', String(seconds)]);
    const router = externalSmg(address);
    await use(router, routerClient({ fetch: localDrivers([]).fetch, url: router.url })).finally(() => smg.stop());
  };

  it('lists an engine that becomes ready long after it was to be listed: it is asked again', () =>
    withSmg('127.84.5.5', 1, async (router, client) => {
      const { row, running } = await silentEngine();
      const host = await localHost('h0', '127.84.5.6');
      const { wireEngine } = createRouterActivities(localDrivers([host]), { pollMs: 20, queuedSeconds: 1 });
      const wired = wireEngine({ router, routerRef: host.ref, ref: host.ref, engine: row, kvGeneration: 'gen-1' });
      await eventually(() => running.keys.length > 15); // More than one addition asks in its second.
      running.answers = {};
      await wired;
      expect(await client.list()).toEqual([expect.objectContaining({ url: row.url, ready: true })]);
      await host.close();
    }));

  it('goes on to add an engine that it was told to remove, until its own limit, which Tandem sets', () =>
    withSmg('127.84.5.4', patientSeconds(2), async (router, client) => {
      const { row, running } = await silentEngine();
      const { id } = await client.add({ url: row.url, role: 'decode' });
      const queued = async () => (await fetch(`${router.url}/workers/${id!}`)).status !== 404;
      await client.remove(id!);
      expect(await queued()).toBe(true);
      await eventually(async () => !(await queued()));
      running.answers = {};
      const { row: next } = await engineOf('decode');
      await client.add({ url: next.url, role: 'decode' });
      await eventually(async () => (await client.list()).some(({ ready }) => ready));
      expect((await client.list()).map(({ url }) => url)).toEqual([next.url]);
    }));
});

describe('a managed router (real smg) that does not come', () => {
  let host: LocalHost;
  let other: Server | undefined;
  const activities = () => createRouterActivities(localDrivers([host], secrets), { pollMs: 20 });
  beforeAll(async () => {
    host = await localHost('h0', '127.84.5.2');
  });
  afterAll(async () => {
    other?.close();
    await host.close();
  });

  it('is not started on a taken port, nor on a taken port of its metrics', async () => {
    other = createServer().listen(29000, '127.84.5.2');
    await new Promise((resolve) => other!.once('listening', resolve));
    const router = aRouter({ host: 'h0', address: '127.84.5.2' });
    expect(await failure(activities().startRouter({ ref: host.ref, router, ...owner }))).toMatchObject({
      code: 'PORT_TAKEN',
      remedy: expect.stringContaining('router.port'),
    });
    other.close();
    other = undefined;
  });

  it('fails with its log when it ends, although something on its port gives a list', async () => {
    other = createServer((_, response) => response.end('{"workers":[]}')).listen(30001, '127.84.5.2');
    const router = aRouter({
      host: 'h0',
      address: '127.84.5.2',
      port: 30001,
      argv: ['sh', '-c', 'echo no such flag >&2; exit 2'],
    });
    await host.runtime('process').start({
      name: router.name,
      labels: { 'tandem.cluster': 'c', 'tandem.deployment': '1', 'tandem.installation': 'inst' },
      argv: router.argv,
      env: {},
      stopTimeoutSeconds: 1,
    });
    await host.units.get(router.name)!.running!.exited;
    expect(await failure(activities().awaitRouter({ ref: host.ref, router, ...owner }))).toMatchObject({
      code: 'ROUTER_FAILED',
      message: expect.stringContaining('ended with exit code 2'),
      evidence: 'no such flag',
    });
  });

  it('with keys is refused when its command is no Python module: they would show', async () => {
    const router = aRouter({
      host: 'h0',
      address: '127.84.5.2',
      name: 'x',
      port: 30002,
      argv: ['smg', 'launch'],
      apiKey: { fromEnv: 'CLIENT' },
    });
    expect(await failure(activities().startRouter({ ref: host.ref, router, ...owner }))).toMatchObject({
      code: 'SPEC_INVALID',
      message: expect.stringContaining('router.command'),
    });
    expect(host.units.has('x')).toBe(false);
  });

  it('lets engines go when it does not run any more: it has no list', async () => {
    const router = aRouter({ host: 'h0', address: '127.84.5.2', name: 'gone', port: 30003 });
    const engine = anEngine('decode', { host: 'h0', address: '127.84.6.8' });
    const at = { router, routerRef: host.ref, ref: host.ref, engine, drainTimeoutSeconds: 1 };
    expect(await activities().unwireEngine(at)).toEqual({ drained: true, openRequests: 0 });
  });

  it('fails the unwiring when it is an external one that does not answer: engines may still get requests', async () => {
    const router = externalSmg('127.84.5.9');
    const engine = anEngine('decode', { host: 'h0', address: '127.84.6.8' });
    expect(
      await failure(activities().unwireEngine({ router, ref: host.ref, engine, drainTimeoutSeconds: 1 })),
    ).toMatchObject({
      code: 'ROUTER_FAILED',
      retryable: true,
      message: expect.stringContaining('connection refused'),
    });
  });
});
