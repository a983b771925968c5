import { describe, expect, it } from '@jest/globals';
import { takePicture } from '../../src/drivers/picture.ts';
import { LOOK, wordsOf } from '../../src/drivers/picture-look.ts';
import type { Host } from '../../src/drivers/types.ts';
import { LABELS } from '../../src/drivers/types.ts';
import type { PictureScope } from '../../src/facts/host-picture.ts';
import { fakeHost, type Said } from '../support/fake-host.ts';

// What the program on the host printed, and what is made of it: cases that no test can bring about on a real machine.
const STATE = '/home/ops/.tandem';
const MODEL = '/var/lib/models/acme/tiny+chat/main';
const UNIT = 'tandem-qwen-decode-0-3';
const BOOT = 'boot-now';
const RUNNER = "tandem_path=$PATH; while read … = TANDEM-FRAME-1 ] && break; done; eval '…'";
const SCOPE: PictureScope = {
  cluster: 'qwen',
  installation: 'run-1',
  docker: false,
  ports: [],
  modelPath: MODEL,
  images: [],
};

const job = (deployment: number, installation: string) =>
  `job\ttandem-qwen-decode-0-${deployment}\t${JSON.stringify({ [LABELS.cluster]: 'qwen', [LABELS.installation]: installation, [LABELS.deployment]: String(deployment) })}\t`;
const turn = (pid: number, start: number, boot = BOOT) => `turn\t${pid}\t${start}\t${boot}\t`;
const proc = (pid: number, { parent = 1, group = pid, session = pid, start = 500, program = 'sh', state = 'S' } = {}) =>
  `${pid} (${program}) ${state} ${parent} ${group} ${session} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 ${start} 0 0`;
const frame = (group: number, began: number) => `frame\t${group}\t${began}\t`;
const word = (pid: number, text: string) => `${pid}/cmdline:${text}`;
const home = (pid: number) => `${pid}/environ`;

/** A host that answers the look with these rows, and everything else with nothing. */
function shows(rows: readonly string[], other: Said = {}): Host {
  const stdout = [...rows, `boot\t${BOOT}\t`, ''].join('\n');
  return {
    ...fakeHost((argv) => (argv[2] === LOOK ? { stdout, ...other } : {})),
    leases: { list: async () => [], take: async () => {}, release: async () => {}, breakHeld: async () => [] },
  };
}
const pictured = async (...rows: string[]) => (await takePicture(shows(rows), SCOPE)).things;
const processes = async (...rows: string[]) => (await pictured(...rows)).process ?? [];

describe('of a host that makes things up', () => {
  it('a process that is its own parent, and two that are each other’s, hold nobody', async () => {
    const self = [proc(7, { parent: 7, group: 7 }), word(7, RUNNER), word(7, UNIT), home(7), frame(7, 500)];
    const each = [proc(8, { parent: 9 }), proc(9, { parent: 8 }), word(8, RUNNER), word(9, RUNNER), frame(8, 500)];
    expect(await processes(...self, ...each)).toEqual([expect.stringMatching(/^7 sh, of a command over SSH/)]);
  });

  it('rows without their fields are no fault of Tandem', async () => {
    expect(await pictured('turn', 'job', 'link', 'mount', 'file', 'frame', 'partial', 'aside')).toBeDefined();
  });
});

describe('of the processes of a job', () => {
  it('those are left over whose first one is gone', async () => {
    const survivor = proc(101, { session: 100, program: 'a) S (b', start: 600 });
    expect(await processes(job(3, 'run-1'), turn(100, 500), survivor)).toEqual([`101 a) S (b, of ${UNIT} (start 600)`]);
    const inGroup = proc(102, { group: 100, session: 7 });
    expect(await processes(job(3, 'run-1'), turn(100, 500), inGroup)).toEqual([`102 sh, of ${UNIT} (start 500)`]);
  });

  it('what those started is left over too', async () => {
    const rows = [proc(101, { session: 100 }), proc(300, { parent: 101 }), proc(301, { parent: 300 })];
    expect(await processes(job(3, 'run-1'), turn(100, 500), ...rows)).toHaveLength(3);
  });

  it.each([
    { what: 'run', rows: [turn(100, 500), proc(100), proc(101, { session: 100 }), proc(90, { session: 90 })] },
    {
      what: 'are of another job by now: the number went round',
      rows: [turn(100, 400), proc(100), proc(101, { session: 100 })],
    },
    {
      what: 'were there before the host was started anew',
      rows: [turn(100, 500, 'boot-then'), proc(101, { session: 100 })],
    },
    { what: 'have ended and wait for their parent', rows: [turn(100, 500), proc(101, { session: 100, state: 'Z' })] },
    { what: 'never began', rows: [turn(0, 0, ''), proc(101)] },
  ])('those are not that $what', async ({ rows }) => {
    expect(await processes(job(3, 'run-1'), ...rows)).toEqual([]);
  });

  it('the first one says whether the job runs, and not another that has its number by now', async () => {
    expect((await pictured(job(3, 'run-1'), turn(100, 500), proc(100))).job).toEqual([`${UNIT} runs`]);
    expect((await pictured(job(3, 'run-1'), turn(100, 400), proc(100))).job).toEqual([`${UNIT} does not run`]);
  });

  it('those of another installation are not ours', async () => {
    expect(await pictured(job(3, 'run-2'), turn(100, 500), proc(101, { session: 100 }))).toEqual({});
  });
});

describe('of the commands of the ssh driver', () => {
  // sshd 180, runner 190 with its watcher 191 and the watcher's cat 192, command 200 and what it started.
  const around = [
    proc(180),
    proc(190, { parent: 180 }),
    proc(191, { parent: 190, group: 190 }),
    proc(192, { parent: 191, group: 190 }),
  ];
  const runner = [word(190, RUNNER), word(191, RUNNER)];
  const command = [
    frame(200, 700),
    proc(200, { parent: 190, start: 700 }),
    proc(201, { parent: 200, group: 200, session: 200 }),
  ];
  const pids = (rows: readonly string[]) => rows.map((row) => Number(row.split(' ')[0]));

  it('those are shown that name something of the cluster, with what runs and watches them', async () => {
    const found = await processes(...around, ...runner, ...command, word(200, UNIT), home(200));
    expect(pids(found)).toEqual([190, 191, 192, 200, 201]);
    expect(found.at(-1)).toBe('201 sh, of a command over SSH (start 500)');
  });

  it('those are shown whose runner is gone, without what took its place', async () => {
    expect(pids(await processes(...around, ...command, word(200, UNIT), home(200)))).toEqual([200, 201]);
  });

  it('those are shown whose first process is gone', async () => {
    const rest = [
      frame(200, 700),
      proc(201, { group: 200, session: 200 }),
      word(201, `${STATE}/jobs/${UNIT}`),
      home(201),
    ];
    expect(pids(await processes(...rest))).toEqual([201]);
  });

  it.each([
    { what: 'that name nothing of it', rows: [home(200)] },
    { what: 'of another home', rows: [word(200, UNIT)] },
    {
      what: 'of a number that another installation uses',
      rows: [job(4, 'run-2'), word(200, 'tandem-qwen-decode-0-4'), home(200)],
    },
  ])('those are not $what', async ({ rows }) => {
    expect(await processes(...around, ...runner, ...command, ...rows)).toEqual([]);
  });

  it('those are not whose number is somebody else’s by now', async () => {
    const other = [frame(200, 700), proc(200, { start: 900 }), word(200, UNIT), home(200)];
    expect(await processes(...around, ...other)).toEqual([]);
  });

  it('nobody is shown who merely runs a command of the same words', async () => {
    expect(await processes(proc(200), word(200, UNIT), home(200))).toEqual([]);
  });
});

describe('arguments tell whose a command is:', () => {
  const words = new RegExp(`^(?:${wordsOf({ ...SCOPE, stateDir: STATE, leaseDir: '/l', docker: false })})$`);

  it.each([
    UNIT,
    'tandem-qwen-weights-0-12',
    `${STATE}/jobs/${UNIT}/0`,
    `${STATE}/deployments/qwen-3/x-0/config`,
    `${MODEL}.partial-qwen-3-run-1`,
    `${MODEL}.partial-qwen-3-run-1/files`,
    '{"cluster":"qwen","installation":"run-1","deployment":3,',
    RUNNER,
  ])('%s is ours', (text) => expect(text).toMatch(words));

  it.each([
    `${UNIT}0x`,
    'tandem-qwen-3-decode-0-3',
    'tandem-qwe-decode-0-3',
    `${STATE}/deployments/qwen-3-1/x`,
    `${STATE}/jobs`,
    `${MODEL}.partial-qwen-3-run-2`,
    `${MODEL.replace('+', '')}.partial-qwen-3-run-1`,
    MODEL,
    '{"cluster":"qwen","installation":"run-10",',
    `label=tandem.cluster=qwen`,
    wordsOf({ ...SCOPE, stateDir: STATE, leaseDir: '/l', docker: false }),
  ])('%s is not', (text) => expect(text).not.toMatch(words));
});

describe('mount points', () => {
  it('are shown in folders of the cluster and nowhere else', async () => {
    const mounts = [
      '/',
      STATE,
      `${STATE}/a\\040b`,
      `${STATE}/jobs/${UNIT}/x`,
      `${STATE}/jobs/tandem-other-decode-0-1/x`,
      `${STATE}/deployments/qwen-3/y`,
      `${STATE}/deployments/other-3/y`,
      MODEL,
      `${MODEL}/z`,
      '/var/lib/models',
    ];
    expect(await pictured(...mounts.map((point) => `mount\t${point}\t`))).toEqual({
      mount: [`${STATE}/a b`, `${STATE}/deployments/qwen-3/y`, `${STATE}/jobs/${UNIT}/x`, `${MODEL}/z`],
    });
  });
});

describe('a look that did not come through whole is an error:', () => {
  it.each([
    { how: 'not in time', other: { timedOut: true, exitCode: 143 }, code: 'COMMAND_TIMEOUT', retryable: true },
    { how: 'cut off', other: { truncated: true }, code: 'COMMAND_FAILED', retryable: false },
    {
      how: 'with a failure',
      other: { exitCode: 1, stderr: 'the program find is needed' },
      code: 'COMMAND_FAILED',
      retryable: false,
    },
  ])('$how', async ({ other, code, retryable }) => {
    await expect(takePicture(shows([], other), SCOPE)).rejects.toMatchObject({ code, retryable, host: 'host-0' });
  });
});
