import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { CLI, runVerb } from '../support/cli.ts';
import { patient, patientSeconds } from '../support/patience.ts';
import { until } from '../support/processes.ts';
import { startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** What a failed deployment wrote is there to be read after its undo, and what runs can be followed. */
const base = stackSpec(5, {
  name: 'told',
  engine: { args: { 'log-requests': true, 'log-requests-format': 'json' } },
});
/** Whose pairs are given up soon. */
const hasty = { ...base, acceptance: { ...base.acceptance, timeoutSeconds: patientSeconds(2) } };

let stack: Stack;
let before: Picture;
let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-evidence-'));
  file = join(folder, 'told.yaml');
  await writeFile(file, JSON.stringify(hasty)); // JSON is YAML.
  stack = await startStack({ spec: base });
  before = await stack.picture();
});
afterAll(async () => {
  await stack?.stop();
  await rm(folder, { recursive: true, force: true });
});

const env = () => ({ TEMPORAL_ADDRESS: stack.client.settings.origin, TEMPORAL_NAMESPACE: 'default' });
const tandem = (...args: readonly string[]) =>
  runVerb(args, { address: stack.client.settings.origin, timeoutMs: patient(300_000) });
const keptOn = async (host: string) =>
  (await stack.kept())[host]!.logs.map((row) => row.slice(0, row.lastIndexOf(' ')));

const PAIR = ['tandem-told-decode-0-1 on d0', 'tandem-told-prefill-0-1 on p0'];

describe('the logs of a deployment that failed', () => {
  it('stay on their hosts when acceptance failed, and the failure names where those are that it speaks of', async () => {
    await stack.simulation.setFaults([{ match: 'decode-0', engine: { transferStuck: true } }]);
    const { json, exitCode } = await tandem('deploy', file);
    expect({ exitCode, json }).toMatchObject({
      exitCode: 1,
      json: { outcome: 'rolled-back', leftBehind: [], failed: { step: 'accept', code: 'ACCEPTANCE_FAILED' } },
    });
    const { logs } = json['failed'] as { logs: readonly string[] };
    expect(logs).toEqual([
      expect.stringMatching(/^d0: \/.*\/\.tandem\/logs\/told-1\/tandem-told-decode-0-1\.log$/),
      expect.stringMatching(/^p0: \/.*\/\.tandem\/logs\/told-1\/tandem-told-prefill-0-1\.log$/),
      expect.stringMatching(/^d1: \/.*\/\.tandem\/logs\/told-1\/tandem-told-decode-1-1\.log$/),
      'and 1 more',
    ]);
    expect(json['kept']).toContainEqual(expect.stringMatching(/^d0: log \/.*decode-0-1\.log \([\d.]+ MiB\)$/));
    expect(await stack.onHost('d0', `cat ${logs[0]!.slice('d0: '.length)}`)).toContain('server_args');
    expect(await stack.settledPicture(before)).toEqual(before);
  });

  it('are shown by `logs --deployment`, all or those of one engine', async () => {
    const { json } = await tandem('logs', 'told', '--deployment', '1');
    expect(Object.keys(json)).toEqual([
      PAIR[0],
      'tandem-told-decode-1-1 on d1',
      PAIR[1],
      'tandem-told-router-0-1 on router-0',
    ]);
    const one = await tandem('logs', 'told', '--deployment', '1', '--engine', 'prefill-0', '--tail', '5000');
    expect(Object.keys(one.json)).toEqual([PAIR[1]]);
    expect(one.json[PAIR[1]!]).toContain('server_args');
  });

  it('stay when it was cancelled while an engine did not come up', async () => {
    await stack.simulation.setFaults([{ match: 'decode-1', engine: { neverReady: true } }]);
    const admitted = await stack.begin(hasty);
    await stack.reaches(admitted, 'start-decode');
    const log = async () => (await tandem('logs', 'told', '--engine', 'decode-1')).json;
    await until('the log of an engine that starts', async () => JSON.stringify(await log()).includes('server_args'));
    await stack.client.cancel('told', { actor: 'tester' });
    expect(await stack.ended('told', admitted)).toMatchObject({ outcome: 'cancelled', leftBehind: [] });
    expect(await keptOn('d1')).toEqual([
      '.tandem/logs/told-1/tandem-told-decode-1-1.log',
      '.tandem/logs/told-2/tandem-told-decode-1-2.log',
    ]);
  });

  it('are said not to be there where that is so, with what there is', async () => {
    expect(await tandem('logs', 'told', '--deployment', '9')).toMatchObject({
      exitCode: 2,
      json: {
        error: { code: 'USAGE', message: 'told has no deployment 9', remedy: '`tandem history told` has 1 to 2.' },
      },
    });
    expect(await tandem('logs', 'told', '--deployment', '1', '--engine', 'decode-7')).toMatchObject({
      exitCode: 2,
      json: { error: { code: 'USAGE', remedy: expect.stringContaining('tandem-told-decode-1-1') } },
    });
    expect(await tandem('logs', 'told')).toMatchObject({ exitCode: 2, json: { error: { code: 'USAGE' } } });
    expect(await tandem('logs', 'told', '--tail', '0')).toMatchObject({ exitCode: 2 });
  });
});

describe('a log that is followed', () => {
  it('shows its last lines and then what is written, until Ctrl-C, which is no failure', async () => {
    await stack.simulation.setFaults([]);
    expect((await tandem('deploy', file)).exitCode).toBe(0);
    const { serving } = await stack.client.record('told');
    const args = ['logs', 'told', '--engine', 'prefill-0', '--follow', '--tail', '1', '--json'];
    const following = execa(process.execPath, [CLI, ...args], { env: env(), reject: false });
    let said = '';
    following.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    const rows = () =>
      said
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as { unit: string; lines: string[] });
    await until('its last line', async () => rows().length === 1);
    expect(rows()[0]).toEqual({ unit: 'tandem-told-prefill-0-3 on p0', lines: [expect.any(String)] });
    await fetch(`${serving!.router.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: serving!.model, prompt: 'say', max_tokens: 2 }),
    });
    await until('what is written of a request', async () => rows().length > 1);
    expect(
      rows()
        .slice(1)
        .flatMap(({ lines }) => lines)
        .join('\n'),
    ).toContain('request.finished');
    following.kill('SIGINT');
    expect((await following).exitCode).toBe(0);
  });
});

describe('what is kept', () => {
  it('stays when the cluster is destroyed, and goes with --purge', async () => {
    expect(await tandem('destroy', 'told', '--yes')).toMatchObject({ exitCode: 0, json: { outcome: 'succeeded' } });
    expect(await keptOn('d1')).toHaveLength(2);
    expect(await tandem('destroy', 'told', '--yes', '--purge')).toMatchObject({
      exitCode: 0,
      json: { outcome: 'succeeded', leftBehind: [] },
    });
    const kept = await stack.kept();
    for (const host of ['p0', 'd0', 'd1', 'router-0']) expect(kept[host]).toMatchObject({ logs: [], weights: [] });
    const files = async (host: string) =>
      (await stack.picture())[host]!.files.filter((row) => !row.startsWith('models/')); // Folders above weights may be anybody's.
    for (const host of Object.keys(before)) expect(await files(host)).toEqual(before[host]!.files);
  });
});
