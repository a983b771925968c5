import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createServer } from 'node:http';
import type { z } from 'zod';
import type { Fault } from '../../src/sim/faults.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { EVERY_CASE, some } from '../support/choice.ts';
import { patient, patientSeconds } from '../support/patience.ts';
import { OLDEST_IMAGE, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/**
 * A deploy that fails, at any of its steps, leaves every host as it was: seen on the hosts, not told by the product. Every
 * third step in `npm test`, where workflows/unwind.test.ts fails each of them in memory. Its engines are of the oldest
 * SGLang, those of the other suites of the newest.
 */
const base = stackSpec(3, { engine: { image: OLDEST_IMAGE } });
let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ spec: base });
});
afterAll(async () => {
  await stack?.stop();
});

/** A deploy that succeeded against its test holds the GPUs of the next. */
afterEach(async () => {
  await stack.simulation.setFaults([]);
  for (const name of await stack.client.clusters()) {
    const { serving, specs } = await stack.client.record(name);
    if (serving) await stack.run(specs[serving.specDigest]!, 'destroy');
  }
});

interface Case {
  readonly step: string;
  readonly code: string;
  readonly host: string;
  readonly faults?: readonly z.input<typeof Fault>[];
  /** What is there before, beside the faults. */
  readonly prepare?: () => Promise<unknown>;
  readonly spec?: Partial<ClusterSpec>;
}

const IMAGE = base.engine.image!;

const CASES: readonly Case[] = [
  {
    step: 'lease-gpus',
    code: 'LEASE_DIR_MISSING',
    host: 'd1',
    // The second of two: the first must go again.
    faults: [{ match: '^ln -- \\.aside', host: 'd1', nth: 2, does: 'fails', stderr: 'ln: No space left on device' }],
  },
  {
    step: 'check-rocm',
    code: 'CHECK_FAILED',
    host: 'd0',
    faults: [{ match: '^amd-smi version|/opt/rocm/\\.info/version', host: 'd0', does: 'printsRubbish' }],
  },
  {
    step: 'check-rdma',
    code: 'CHECK_FAILED',
    host: 'p0',
    faults: [{ match: '^ib_write_bw', host: 'p0', does: 'fails', stderr: 'Unable to init the socket connection' }],
  },
  {
    step: 'fetch-image',
    code: 'IMAGE_UNAVAILABLE',
    host: 'd0',
    spec: { engine: { ...base.engine, pull: { policy: 'always' } } },
    faults: [{ match: '^docker pull', host: 'd0', does: 'fails', stderr: 'manifest unknown: manifest unknown' }],
  },
  {
    step: 'stage-weights',
    code: 'DISK_TOO_SMALL',
    host: 'd1',
    spec: { model: { ...base.model, dir: '~/full/models' } },
    faults: [{ match: '^cp -- ', host: 'd1', does: 'fails', stderr: 'cp: error writing: No space left on device' }],
  },
  {
    step: 'start-prefill',
    code: 'ENGINE_EXITED',
    host: 'p0',
    faults: [{ match: 'prefill', engine: { outOfMemory: true } }],
  },
  {
    step: 'start-decode',
    code: 'ENGINE_WRONG',
    host: 'd1',
    faults: [{ match: 'decode-1', host: 'd1', engine: { saysRole: 'prefill' } }],
  },
  {
    step: 'start-router',
    code: 'ROUTER_FAILED',
    host: 'router-0',
    faults: [{ match: 'smg\\.launch_router', host: 'router-0', does: 'fails', exitCode: 2, stderr: 'no such option' }],
  },
  {
    step: 'accept',
    code: 'ACCEPTANCE_FAILED',
    host: 'd0',
    spec: { acceptance: { ...base.acceptance, timeoutSeconds: patientSeconds(2) } },
    faults: [{ match: 'decode-0', host: 'd0', engine: { transferStuck: true } }],
  },
  {
    step: 'confirm',
    code: 'NOT_AS_PLANNED',
    host: 'router-0',
    // Somebody's container that says it is part of this cluster.
    prepare: () => stack.onHost('router-0', `docker run -d --name stray --label tandem.cluster=f10 ${IMAGE} sleep 600`),
  },
];

let before: Picture;

describe.each(
  some(
    CASES.map((one, index) => ({ ...one, name: `f${index + 1}` })),
    3,
  ),
)('a deploy that fails at $step', ({ name, step, code, host, faults = [], prepare, spec = {} }) => {
  it('says code, host and remedy, and leaves every host as it was', async () => {
    await prepare?.();
    before = await stack.picture();
    await stack.simulation.setFaults(faults);
    const entry = await stack.run({ ...base, ...spec, name });
    expect(entry).toMatchObject({ outcome: 'rolled-back', leftBehind: [], failed: { step, code, host } });
    expect(entry.failed!.remedy).not.toBe('');
    expect(await stack.settledPicture(before)).toEqual(before);
    expect(await stack.client.record(name)).toMatchObject({ state: 'none', serving: null });
  });
});

describe('a deploy of which an engine dies and another program takes its port before it is registered', () => {
  it('fails at wire-router naming what answers there and the port that is taken, and leaves every host as it was', async () => {
    before = await stack.picture();
    const upgrade = { ...base.upgrade, drainTimeoutSeconds: 2 }; // What answers there has no requests to tell of.
    // The router comes late: until then there is time for what is done to the engine.
    const late = {
      match: 'smg\\.launch_router',
      host: 'router-0',
      does: 'answersLate',
      afterMs: patient(2_000),
    } as const;
    await stack.simulation.setFaults([late]);
    const admitted = await stack.begin({ ...base, name: 'f-wire', upgrade });
    await stack.reaches(admitted, 'start-router');
    const { config } = stack.simulation.host('d1').docker.find('tandem-f-wire-decode-1-1');
    const { hostname, port } = new URL(config.labels['tandem.url']!);
    await stack.onHost('d1', 'docker kill tandem-f-wire-decode-1-1');
    // An engine that is neither prefill nor decode.
    const said = { data: [{ id: 'something-else' }], version: '0.5.23', loads: [{ disaggregation: { mode: 'null' } }] };
    const other = createServer((_request, response) => response.end(JSON.stringify(said)));
    await new Promise<void>((resolve, reject) => {
      other.once('error', reject).listen(Number(port), hostname, resolve);
    });
    try {
      const failed = { step: 'wire-router', code: 'ENGINE_WRONG', host: 'd1' };
      // Who listens there cannot be told from outside: named, and left alone.
      const leftBehind = [`d1: there now: port ${hostname}:${port}`];
      expect(await stack.ended('f-wire', admitted)).toMatchObject({ outcome: 'stuck', leftBehind, failed });
    } finally {
      other.closeAllConnections();
      await new Promise((resolve) => other.close(resolve));
    }
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});

(EVERY_CASE ? describe : describe.skip)('a deploy that is cancelled in the middle', () => {
  it('unwinds, ends cancelled, and leaves every host as it was', async () => {
    before = await stack.picture();
    await stack.simulation.setFaults([{ match: 'decode-0', engine: { neverReady: true } }]);
    const admitted = await stack.begin({ ...base, name: 'cancelled' });
    await stack.reaches(admitted, 'start-decode');
    await stack.client.cancel('cancelled', { actor: 'tester' });
    expect(await stack.ended('cancelled', admitted)).toMatchObject({ outcome: 'cancelled', leftBehind: [] });
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});
