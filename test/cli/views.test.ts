import { describe, expect, it } from '@jest/globals';
import { adoptView, renderAdopted } from '../../src/cli/views/adopt.ts';
import { checkView, renderFindings } from '../../src/cli/views/findings.ts';
import {
  historyView,
  isAsRecorded,
  listView,
  renderHistory,
  renderList,
  renderStatus,
  statusView,
} from '../../src/cli/views/cluster.ts';
import { brokenView, leasesView, renderBroken, renderLeases } from '../../src/cli/views/leases.ts';
import type { Seen } from '../../src/cli/look.ts';
import type { Standstill } from '../../src/standstill.ts';
import type { FoundCluster } from '../../src/plan/adopt.ts';
import {
  neverBackwards,
  progressLines,
  renderConclusion,
  stillLines,
  type ShownProgress,
} from '../../src/cli/views/operation.ts';
import { duration } from '../../src/cli/views/table.ts';
import type { OperationProgress, StepProgress } from '../../src/operations/progress.ts';
import type { ClusterRecord, DeploymentRecord } from '../../src/operations/record.ts';
import { expectGolden } from '../support/golden.ts';

const deployed: DeploymentRecord = {
  deployment: 1,
  operation: 'deploy',
  actor: 'ada@ops',
  reason: 'first',
  startedAt: '2026-11-24T10:00:00.000Z',
  finishedAt: '2026-11-24T10:02:05.000Z',
  outcome: 'succeeded',
  specDigest: `sha256:${'ab'.repeat(32)}`,
  workflowId: 'deploy/qwen/1',
  leftBehind: [],
  measured: {
    requests: 200,
    ttftMs: { p50: 41.2, p90: 60, p99: 93.6 },
    itlMs: { p50: 8.25, p90: 9, p99: 12 },
    tokensPerSecond: 1234.5,
  },
};
const stuck: DeploymentRecord = {
  ...deployed,
  deployment: 2,
  reason: '',
  finishedAt: '2026-11-24T10:00:09.000Z',
  outcome: 'stuck',
  workflowId: 'deploy/qwen/2',
  failed: {
    step: 'check-rdma',
    host: 'gpu-a',
    code: 'CHECK_FAILED',
    message: '1 of 8 findings failed',
    evidence: 'gpu-a rdma-bandwidth: 92.4 Gb/s measured, rdma.minGbps is 180',
    remedy: 'Check cable, port speed and PFC on both ends.',
  },
  leftBehind: ['lease-gpus: gpu-a: connection refused'],
};
const running = {
  operation: 'deploy',
  deployment: 2,
  by: 'ada@ops',
  since: stuck.startedAt,
  workflowId: 'deploy/qwen/2',
} as const;
const record: ClusterRecord = {
  cluster: 'qwen',
  installation: 'run-1',
  state: 'serving',
  running: null,
  serving: {
    deployment: 1,
    site: 'default',
    model: 'Qwen/Qwen2.5-72B-Instruct',
    specDigest: deployed.specDigest,
    engines: [
      {
        name: 'tandem-qwen-prefill-0-1',
        kvGeneration: 'kv-0123456789ab',
        role: 'prefill',
        hosts: ['gpu-a'],
        url: 'http://10.0.0.1:30000',
        digest: 'd',
        runtime: 'docker',
      },
      {
        name: 'tandem-qwen-decode-0-1',
        kvGeneration: 'kv-0123456789ab',
        role: 'decode',
        hosts: ['gpu-b', 'gpu-c'],
        url: 'http://10.0.0.2:30000',
        digest: 'd',
        runtime: 'docker',
      },
    ],
    router: { url: 'http://10.0.0.9:30000' },
    hosts: [],
  },
  waiting: null,
  deployments: [deployed, stuck],
  specs: {},
  droppedSpecs: [],
  lastDeployment: 2,
};
/** What is seen: engines by name, what keeps the router from serving, and the stage of what runs. */
const seen = (engines: Readonly<Record<string, boolean>>, router: string | null = '', stage = ''): Seen => ({
  stage,
  unknown: [],
  health: { engines, router },
});
const HEALTHY = { 'tandem-qwen-prefill-0-1': true, 'tandem-qwen-decode-0-1': true };
const SICK = { ...HEALTHY, 'tandem-qwen-decode-0-1': false };
const healthy = seen(HEALTHY);
const UNSEEN: Seen = { stage: '', unknown: ['health: no answer within 10 s'] };

/** Rows of remains that begin with this word. */
const rowsOf = (word: string, text: string): readonly string[] =>
  text.split('\n').flatMap((line) => new RegExp(`^  ${word} +(.*)`).exec(line)?.[1] ?? []);

describe('status', () => {
  it('has the fields that scripts count on', () => {
    expect(statusView({ ...record, deployments: [deployed] }, healthy)).toEqual({
      cluster: 'qwen',
      state: 'serving',
      why: [],
      unknown: [],
      serving: { deployment: 1, model: 'Qwen/Qwen2.5-72B-Instruct', specDigest: record.serving!.specDigest },
      deployment: 1,
      outcome: 'succeeded',
      operation: 'deploy',
      stage: '',
      running: null,
      router: { url: 'http://10.0.0.9:30000', answers: true },
      engines: [
        {
          name: 'tandem-qwen-prefill-0-1',
          role: 'prefill',
          hosts: ['gpu-a'],
          url: 'http://10.0.0.1:30000',
          healthy: true,
        },
        {
          name: 'tandem-qwen-decode-0-1',
          role: 'decode',
          hosts: ['gpu-b', 'gpu-c'],
          url: 'http://10.0.0.2:30000',
          healthy: true,
        },
      ],
      leftBehind: [],
      difference: [],
      kept: [],
      abandoned: [],
      waiting: null,
    });
  });

  it('has what the last deployment left, changed, gave up and kept, and says each once', () => {
    const difference = [
      { host: 'gpu-a', kind: 'lease', what: '0000:05:00.0', change: 'left' },
      { host: 'gpu-b', kind: 'file', what: 'models/part', change: 'gone' },
    ] as const;
    const kept = ['gpu-a: weights /models/qwen (135.4 GiB)'];
    const abandoned = ['gpu-c: tandem-qwen-decode-0-1'];
    const leftBehind = ['gpu-a: lease 0000:05:00.0'];
    const last = { ...stuck, leftBehind, difference, kept, abandoned };
    const view = statusView({ ...record, deployments: [deployed, last] }, healthy);
    expect(view).toMatchObject({ leftBehind, difference, kept, abandoned });
    const lines = [
      '  left behind  gpu-a: lease 0000:05:00.0',
      '  differs      gpu-b: file models/part is gone',
      '  abandoned    gpu-c: tandem-qwen-decode-0-1',
      '  kept         weights /models/qwen on gpu-a (135.4 GiB)',
    ];
    const remains = (text: string) =>
      text.split('\n').filter((line) => /left behind|differs|abandoned|kept/.test(line));
    expect(remains(renderStatus(view))).toEqual(lines);
    expect(remains(renderHistory([last]))).toEqual(lines);
    expect(remains(renderConclusion(last, record, undefined))).toEqual(lines);
  });

  it('says what is kept as one line of each kind, with number and size, and each row with --verbose', () => {
    const kept = ['b', 'a', 'c'].flatMap((host) => [
      `gpu-${host}: image rocm/sgl-dev:v0.5.23 (20.0 GiB)`,
      ...(host === 'c' ? [`gpu-c: image rocm/smg:v1 (0.4 GiB)`] : []),
      `gpu-${host}: weights /models/qwen (135.4 GiB)`,
    ]);
    const entry = { ...deployed, kept: [...kept, 'and 9 more'] };
    expect(rowsOf('kept', renderHistory([entry]))).toEqual([
      '2 images on 3 hosts (60.4 GiB)',
      'weights /models/qwen on 3 hosts (406.2 GiB)',
      'and 9 more',
    ]);
    expect(rowsOf('kept', renderHistory([entry], { verbose: true }))).toEqual(entry.kept);
  });

  it('of many hosts that failed says the first three and how many there are', () => {
    const leftBehind = ['a', 'b', 'c', 'd', 'e'].map((host) => `stop-engines: gpu-${host}: refused`);
    const text = renderConclusion({ ...stuck, leftBehind }, record, undefined);
    expect(rowsOf('left behind', text)).toEqual([
      ...leftBehind.slice(0, 3),
      '5 in all, 2 not shown (--verbose shows them)',
    ]);
    const whole = renderConclusion({ ...stuck, leftBehind }, record, undefined, { verbose: true });
    expect(rowsOf('left behind', whole)).toEqual(leftBehind);
  });

  it('says who waits to take over', () => {
    const waiting = { ...running, deployment: 3, by: 'bob@ops', workflowId: 'deploy/qwen/3' };
    const view = statusView({ ...record, running, waiting, state: 'deploying' }, healthy);
    expect(view.waiting).toEqual({ operation: 'deploy', deployment: 3, by: 'bob@ops' });
    expect(renderStatus(view)).toContain('waiting    deploy 3 by bob@ops, to take over');
  });

  it('of a cluster with a sick engine is degraded, and of one whose health could not be read is not', () => {
    expect(statusView(record, seen(SICK)).state).toBe('degraded');
    expect(statusView(record, UNSEEN).state).toBe('serving');
    expect(statusView(record, UNSEEN).engines.map((engine) => engine.healthy)).toEqual([null, null]);
  });

  it('of a router that does not answer is degraded, and says why and what mends it, in the list too', () => {
    const dead = seen(HEALTHY, 'it does not answer: connection refused');
    const view = statusView({ ...record, deployments: [deployed] }, dead);
    expect(view).toMatchObject({ state: 'degraded', router: { answers: false } });
    expect(view.why).toEqual([expect.stringMatching(/^the router at .*: connection refused; `tandem deploy FILE`/)]);
    expect(renderStatus(view)).toContain('why        the router at');
    expect(listView(record, dead).state).toBe('degraded');
  });

  it('is as recorded only where all of it is seen, serves and answers', () => {
    const whole = { ...record, deployments: [deployed] };
    expect(isAsRecorded(statusView(whole, healthy))).toBe(true);
    const others: [ClusterRecord, Seen][] = [
      [whole, seen(SICK)],
      [whole, seen(HEALTHY, 'it does not answer')],
      [whole, seen(HEALTHY, null)],
      [whole, UNSEEN],
      [{ ...whole, state: 'deploying', running }, healthy],
      [{ ...whole, state: 'stuck' }, healthy],
    ];
    for (const [other, look] of others) expect(isAsRecorded(statusView(other, look))).toBe(false);
  });

  it('of an operation whose workflow cannot go on is blocked, with the command that ends it', () => {
    const standstill: Standstill = {
      kind: 'blocked',
      since: '2026-11-30T12:00:00.000Z',
      why: 'non_deterministic_error: it differs (tried 5 times)',
      remedy: 'End it: `tandem cancel qwen --force`.',
    };
    const view = statusView({ ...record, running, state: 'deploying' }, { ...healthy, standstill });
    expect(view.state).toBe('blocked');
    expect(renderStatus(view)).toContain('tandem cancel qwen --force');
  });

  it('says who ended what was tried last, apart from what serves', () => {
    const endedBy = { how: 'cancel', actor: 'bob@ops', reason: 'wrong model', at: '2026-11-30T12:00:00.000Z' } as const;
    const last: DeploymentRecord = { ...deployed, deployment: 2, outcome: 'cancelled', endedBy };
    const text = renderStatus(statusView({ ...record, deployments: [deployed, last] }, healthy));
    expect(text).toContain('serving    deployment 1');
    expect(text).toContain(
      'last       deploy 2: cancelled (cancel by bob@ops at 2026-11-30T12:00:00.000Z: wrong model)',
    );
    expect(renderHistory([last])).toContain('cancel by bob@ops');
  });

  it('says who runs what, and at which stage', () => {
    const view = statusView({ ...record, running, state: 'deploying' }, seen(HEALTHY, '', 'check-rdma'));
    expect(view.running).toEqual({
      operation: 'deploy',
      deployment: 2,
      stage: 'check-rdma',
      by: 'ada@ops',
      since: stuck.startedAt,
    });
  });

  it('reads well', () => expectGolden('status.txt', renderStatus(statusView(record, seen(SICK)))));
});

describe('list and history', () => {
  it('have the fields that scripts count on', () => {
    expect(listView(record, healthy)).toEqual({
      cluster: 'qwen',
      state: 'serving',
      deployment: 2,
      model: 'Qwen/Qwen2.5-72B-Instruct',
      prefill: 1,
      decode: 1,
      router: { url: 'http://10.0.0.9:30000' },
    });
    expect(listView({ ...record, serving: null, state: 'stopped' }, healthy)).toMatchObject({
      state: 'stopped',
      model: '',
      prefill: 0,
      router: null,
    });
    expect(historyView(record).map(({ deployment }) => deployment)).toEqual([2, 1]); // Newest first.
    expect(historyView(record)[0]).toMatchObject({
      operation: 'deploy',
      actor: 'ada@ops',
      outcome: 'stuck',
      failed: { step: 'check-rdma', host: 'gpu-a', code: 'CHECK_FAILED' },
      leftBehind: [expect.any(String)],
    });
  });

  it('read well', () =>
    expectGolden('history.txt', `${renderList([listView(record, healthy)])}\n\n${renderHistory(historyView(record))}`));

  it('of no clusters says how to make one', () => expect(renderList([])).toContain('tandem deploy FILE'));
});

describe('the end of an operation', () => {
  it('that touched nothing says so, and one that somebody ended says who and why', () => {
    const refused: DeploymentRecord = { ...stuck, outcome: 'refused', leftBehind: [] };
    expect(renderConclusion(refused, record, undefined)).toMatch(/deployment 2: REFUSED, nothing was touched in 9 s/);
    const endedBy = { how: 'take-over', actor: 'bob@ops', reason: '', at: '2026-11-30T12:00:00.000Z' } as const;
    const ended: DeploymentRecord = { ...deployed, outcome: 'superseded', endedBy };
    expect(renderConclusion(ended, record, undefined)).toContain('(take-over by bob@ops at 2026-11-30T12:00:00.000Z)');
  });

  it('that is stuck names the failure, what is left behind and the command that finishes the job', () => {
    const text = renderConclusion(stuck, record, undefined);
    for (const part of [
      'FAILED, stuck in 9 s',
      'CHECK_FAILED at check-rdma on gpu-a',
      '92.4 Gb/s measured',
      'Check cable',
      'left behind  lease-gpus: gpu-a',
      'tandem destroy qwen',
    ])
      expect(text).toContain(part);
  });

  it('that succeeded says where it serves and what was measured', () => {
    expect(renderConclusion(deployed, record, undefined)).toBe(
      [
        'deploy qwen deployment 1: succeeded in 2 min 5 s',
        '  measured 200 requests: TTFT p50 41 ms, p99 94 ms; ITL p50 8.3 ms; 1235 tokens/s',
        '  serving  Qwen/Qwen2.5-72B-Instruct at http://10.0.0.9:30000',
      ].join('\n'),
    );
  });
});

it.each([
  [{ ...stuck, outcome: 'rolled-back', leftBehind: [] } as const, 'FAILED, rolled-back in 9 s'],
  [{ ...deployed, outcome: 'cancelled' } as const, 'cancelled in 2 min 5 s'],
])('of the end of an operation the first line says how it ended', (entry, words) => {
  const [first] = renderConclusion(entry, record, undefined).split('\n');
  expect(first).toBe(`deploy qwen deployment ${entry.deployment}: ${words}`);
});

describe('progress', () => {
  const progress: OperationProgress = {
    cluster: 'qwen',
    operation: 'deploy',
    deployment: 1,
    actor: 'ada@ops',
    outcome: 'running',
    stage: 'start-decode',
    steps: [{ name: 'start-decode', state: 'running', done: 1, of: 3, startedAt: '2026-11-24T10:00:00.000Z' }],
    findings: [],
    findingsInAll: 0,
    warnings: ['links are not measured'],
    leftBehind: [],
    difference: [],
    kept: [],
    logs: [],
  };

  it('is told once: what was shown is not shown again', () => {
    expect(progressLines(undefined, progress)).toEqual([
      '  warning        links are not measured',
      '  start-decode   1/3',
    ]);
    expect(progressLines(progress, progress)).toEqual([]);
  });

  it('leaves out a step that had nothing to do', () => {
    const [began, later] = ['2026-11-24T10:00:00.000Z', '2026-11-24T10:00:00.009Z'];
    const stepOf = (name: string, finishedAt: string) =>
      ({ name, state: 'done', done: 0, of: 0, startedAt: began, finishedAt }) as const;
    const steps = [stepOf('remove-old', began), stepOf('plan', later)];
    expect(progressLines(progress, { ...progress, steps })).toEqual(['  plan           done  0 s']);
  });

  it('never counts back: a step that counts a second time goes on from its first count', () => {
    const at = (done: number, of: number, state: StepProgress['state'] = 'running') => ({
      ...progress,
      warnings: [],
      steps: [{ name: 'fetch-image', state, done, of }],
    });
    let shown: ShownProgress | undefined;
    const told = [at(0, 0), at(1, 3), at(2, 3), at(0, 2), at(1, 2), at(0, 2), at(1, 2), at(2, 2, 'failed')].flatMap(
      (now) => {
        const before = shown;
        shown = neverBackwards(before, now);
        return progressLines(before, { ...shown, failed: { ...stuck.failed!, step: 'fetch-image' } });
      },
    );
    expect(told.map((line) => line.slice('  fetch-image    '.length))).toEqual([
      '1/3',
      '2/3',
      '3/5',
      '4/5',
      '5/7',
      '6/7',
      'FAILED (7/7)',
    ]);
  });

  it('of a step that a cancellation cut says cancelled, and of one that failed FAILED', () => {
    const steps = [{ name: 'start-decode', state: 'failed', done: 1, of: 3 } as const];
    expect(progressLines(progress, { ...progress, steps })).toEqual(['  start-decode   cancelled (1/3)']);
    const failed = { ...stuck.failed!, step: 'start-decode' };
    expect(progressLines(progress, { ...progress, steps, failed })).toEqual(['  start-decode   FAILED (1/3)']);
  });

  it('says while nothing new comes where it is, and since when it is followed', () => {
    expect(stillLines(progress, 125_000)).toEqual(['  start-decode   1/3, goes on after 2 min 5 s']);
  });

  it('of five hosts that do not pass a check shows three and the number', () => {
    const finding = (host: string) =>
      ({ check: 'gpu-count', host, verdict: 'fail', evidence: '7 of 8 GPUs', remedy: 'Look.' }) as const;
    const findings = ['a', 'b', 'c', 'd', 'e'].map(finding);
    const three = ['a', 'b', 'c'].map((host) => `  fail           gpu-count ${host}: 7 of 8 GPUs`);
    expect(progressLines(progress, { ...progress, findings })).toEqual([
      ...three,
      '  fail           gpu-count: 5 in all, 2 not shown (--verbose shows them)',
    ]);
    expect(progressLines(progress, { ...progress, findings }, { verbose: true })).toHaveLength(5);
    const lines = renderFindings(checkView(findings)).split('\n');
    expect(lines.slice(-2)).toEqual([
      'fail  gpu-count: 5 in all, 2 not shown (--verbose shows them)',
      'fail: 0 of 5 findings passed',
    ]);
    expect(lines).toHaveLength(8);
  });

  it('shows findings that did not pass, and not those that did', () => {
    const finding = {
      check: 'rdma-bandwidth',
      host: 'gpu-a',
      peer: 'gpu-b',
      verdict: 'fail',
      evidence: '92.4 Gb/s measured, rdma.minGbps is 180',
    } as const;
    const now = { ...progress, findings: [{ ...finding, verdict: 'pass' as const }, finding] };
    expect(progressLines(progress, now)).toEqual([
      '  fail           rdma-bandwidth gpu-a → gpu-b: 92.4 Gb/s measured, rdma.minGbps is 180',
    ]);
  });
});

describe('an adoption', () => {
  const found = { installation: 'run-1', lastDeployment: 7, serving: record.serving, differs: [], strangers: [] };
  const text = (over: Partial<FoundCluster>) => renderAdopted(adoptView('qwen', { ...found, ...over }), 'q.yaml');

  it('says what serves, and by which spec', () => {
    expect(text({})).toBe(
      [
        'qwen adopted from its hosts: installation run-1, last deployment 7',
        '  serving  1 prefill and 1 decode engines of Qwen/Qwen2.5-72B-Instruct at http://10.0.0.9:30000',
        '  spec     q.yaml is what runs',
      ].join('\n'),
    );
  });

  it('says in what the file differs from what runs, what was not found and what was left alone', () => {
    const said = text({ differs: ['create engine x: to start'], strangers: ['gpu-a: y, of installation run-2'] });
    for (const part of [
      'q.yaml is not what runs',
      '             create engine x: to start',
      '  router   none was found on the hosts',
      '  left alone  gpu-a: y, of installation run-2',
    ])
      expect(said).toContain(part);
    expect(text({ serving: null })).toContain('nothing: no engine runs');
  });
});

describe('leases', () => {
  const lease = {
    host: 'gpu-a',
    gpu: 3,
    pci: '0000:35:00.0',
    cluster: 'qwen',
    installation: 'run-1',
    deployment: 2,
    takenAt: '2026-11-24T10:00:00.000Z',
  };
  const records = new Map([['qwen', record]]);
  const unread = {
    step: 'leases',
    host: 'gpu-z',
    code: 'HOST_UNREACHABLE',
    message: 'refused',
    evidence: '',
    remedy: '',
  };

  it.each([
    ['serving', lease, record],
    ['serving', lease, { ...record, state: 'stuck' as const }],
    ['stopped', lease, { ...record, state: 'stopped' as const }],
    ['lost', { ...lease, installation: 'run-0' }, record],
    ['unknown', { ...lease, cluster: 'other' }, record],
  ])('are %s by what Temporal here knows of the cluster and installation', (known, held, of) => {
    const view = leasesView({ leases: [held], unread: [] }, new Map([['qwen', of]]));
    expect(view).toEqual({ leases: [{ ...held, known }], unread: [] });
  });

  it('read well, those included of which the GPU is not seen, and hosts that could not be read', () => {
    const leases = [lease, { ...lease, gpu: null, pci: '0000:45:00.0', cluster: 'other' }];
    expect(renderLeases(leasesView({ leases, unread: [unread] }, records))).toBe(
      [
        'HOST   GPU  PCI           CLUSTER  INSTALLATION  DEPLOYMENT  SINCE                     TEMPORAL',
        'gpu-a  3    0000:35:00.0  qwen     run-1         2           2026-11-24T10:00:00.000Z  known here',
        'gpu-a  ?    0000:45:00.0  other    run-1         2           2026-11-24T10:00:00.000Z  not known here',
        'not read  gpu-z: refused',
      ].join('\n'),
    );
    expect(renderLeases(leasesView({ leases: [], unread: [] }, records))).toBe('No leases.');
  });

  it('that were broken are named apart from those that had changed meanwhile', () => {
    const other = { ...lease, pci: '0000:45:00.0' };
    const view = brokenView([lease, other], [lease]);
    expect(view).toEqual({ broken: [lease], changed: [other] });
    expect(renderBroken(view)).toBe(
      [
        'broken   gpu-a 0000:35:00.0: cluster qwen, deployment 2 of installation run-1, since 2026-11-24T10:00:00.000Z',
        'changed  gpu-a 0000:45:00.0: cluster qwen, deployment 2 of installation run-1, since 2026-11-24T10:00:00.000Z: not any more, so it was left alone',
      ].join('\n'),
    );
  });
});

describe('findings', () => {
  it('give the worst verdict, and what did not pass with its remedy', () => {
    const view = checkView([
      { check: 'gpu-driver', host: 'a', verdict: 'pass', evidence: 'fine' },
      { check: 'iommu', host: 'a', verdict: 'warn', evidence: 'iommu=pt is missing', remedy: 'Add it.' },
    ]);
    expect(view.verdict).toBe('warn');
    expect(renderFindings(view)).toBe(
      'warn  a  iommu: iommu=pt is missing\n        remedy: Add it.\nwarn: 1 of 2 findings passed',
    );
    expect(checkView([]).verdict).toBe('pass');
  });
});

it.each([
  ['2026-01-01T00:00:00Z', '2026-01-01T00:00:59Z', '59 s'],
  ['2026-01-01T00:00:00Z', '2026-01-01T00:01:00Z', '1 min 0 s'],
  ['2026-01-01T00:00:00Z', '2026-01-01T02:05:00Z', '2 h 5 min'],
])('from %s to %s are %s', (from, to, text) => expect(duration(from, to)).toBe(text));
