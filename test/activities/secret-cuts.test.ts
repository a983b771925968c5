import { describe, expect, it } from '@jest/globals';
import type { ApplicationFailure } from '@temporalio/common';
import { explainExit } from '../../activities/engine-exit.ts';
import { forTemporal } from '../../activities/failure.ts';
import { createInspectActivities } from '../../activities/inspect.ts';
import { redacted, tailOf } from '../../activities/units.ts';
import { readAs, Refused } from '../../src/drivers/ask.ts';
import { redact } from '../../src/drivers/secrets.ts';
import { DeployError } from '../../src/errors.ts';
import { read } from '../../src/facts/fact.ts';
import { whyNothing } from '../../src/facts/failure.ts';
import { lastKept, raw } from '../../src/text/raw.ts';
import { z } from 'zod';
import { keepLog } from '../../activities/kept-logs.ts';
import type { Drivers, Host } from '../../src/drivers/types.ts';
import { fakeHost, fakeRef } from '../support/fake-host.ts';

/**
 * A secret across every place where a text is cut, on both sides of it, in each way that a text leaves an activity: no six
 * characters of it may be seen.
 */
const SECRET = 'Zq7-Kx9_Wv3=Jt5+Hp1/Fb8&Ym2%d';
const LIMITS = [80, 120, 200, 300, 500, 1_024, 2_048, 4_096, 8_192];
/** The secret begins so far before and behind a limit, from the start of the text and from its end. */
const AROUND = [-40, -29, -24, -12, -6, -1, 0, 1, 40];

const pieces = Array.from({ length: SECRET.length - 5 }, (_, at) => SECRET.slice(at, at + 6));
const seen = (value: unknown) =>
  pieces.filter((piece) => JSON.stringify(value).includes(JSON.stringify(piece).slice(1, -1)));

/** One line, and many lines, with the secret at `at` from the start, and at `at` from the end. */
function textsWith(at: number): string[] {
  const fill = (length: number) => 'lorem-'.repeat(Math.ceil(length / 6)).slice(0, Math.max(0, length));
  const lines = (length: number) => fill(length).replaceAll(/(.{70})./g, '$1\n');
  return [
    `${fill(at)}${SECRET}${fill(9_000)}`,
    `${fill(9_000)}${SECRET}${fill(at)}`,
    `${lines(at)}${SECRET}${lines(9_000)}`,
    `${lines(9_000)}${SECRET}${lines(at)}`,
  ];
}
const TEXTS = LIMITS.flatMap((limit) => AROUND.flatMap((away) => textsWith(limit + away)));

const leaving = async (act: () => unknown) => {
  const { run } = forTemporal({ run: async () => act() }, (text) => redact(text, [SECRET]));
  return await run().catch((failure: ApplicationFailure) => Object.assign({}, failure, { message: failure.message }));
};
const failing = (fields: Partial<DeployError>) => () => {
  throw new DeployError({ code: 'COMMAND_FAILED', message: 'm', remedy: 'r', retryable: false, ...fields } as never);
};

describe('no piece of a secret', () => {
  it('is tried at every limit, on both sides, from the start and from the end', () => {
    expect(TEXTS).toHaveLength(LIMITS.length * AROUND.length * 4);
    expect(TEXTS.filter((text) => seen(text).length === 0)).toEqual([]);
  });

  it.each<[string, (text: string) => () => unknown]>([
    ['the message of an error', (text) => failing({ message: text })],
    ['its remedy', (text) => failing({ remedy: text })],
    ['its evidence', (text) => failing({ evidence: raw(text) })],
    ['the end of a log', (text) => failing({ evidence: tailOf(raw(text), []) })],
    ['what a connection said last', (text) => failing({ evidence: lastKept(raw(text)) })],
    [
      'a fault that nobody foresaw',
      (text) => () => {
        throw new TypeError(text);
      },
    ],
    [
      'the evidence and the remedy of a finding',
      (text) => () => [{ check: 'c', host: 'h', verdict: 'fail', evidence: text, remedy: text }],
    ],
    [
      'what a tool failed with',
      (text) => () => [
        {
          check: 'c',
          host: 'h',
          verdict: 'fail',
          evidence: whyNothing('t', { stdout: text, stderr: text, exitCode: 1, timedOut: false }),
        },
      ],
    ],
    [
      'why an engine ended',
      (text) =>
        failing({
          message: explainExit({
            exitCode: 1,
            oomKilled: false,
            log: redacted(raw(`OSError: Repo id must be ${text}`), []),
            role: 'decode',
          }).because,
        }),
    ],
    [
      'what a router or an engine refused with',
      (text) => failing({ message: new Refused('GET /x', { status: 400, body: raw(text) }).message }),
    ],
  ])('leaves in %s', async (_, make) => {
    const told = await Promise.all(TEXTS.map((text) => leaving(make(text))));
    expect(told.filter((value) => seen(value).length > 0)).toEqual([]);
    expect(JSON.stringify(told)).toContain('[redacted]');
  });

  it('leaves in the message of a parser that quotes a line', () => {
    const failure = (text: string) =>
      read(
        {
          name: 'x',
          parse: (output) => {
            throw new SyntaxError(whyNothing('x', output));
          },
        },
        { stdout: text, stderr: '', exitCode: 0, timedOut: false },
      ).why!;
    const told = TEXTS.map((text) => redact(failure(text), [SECRET]));
    expect(told.filter((text) => seen(text).length > 0)).toEqual([]);
  });

  it('leaves in an error of JavaScript, which quotes what it could not read', async () => {
    const texts = AROUND.map((away) => `${'x'.repeat(Math.max(0, away))}{"key": ${SECRET}`);
    const told = await Promise.all(texts.map((text) => leaving(() => JSON.parse(text))));
    expect(told.filter((value) => seen(value).length > 0)).toEqual([]);
    expect(told[0]).toMatchObject({ message: expect.stringContaining('in what should be JSON') as unknown });
  });

  it('leaves in the logs that people ask for', async () => {
    const logs = TEXTS.map((text) => raw(text));
    const drivers = {
      host: () => ({
        ...fakeHost(() => ({})),
        runtime: () => ({
          kind: 'docker',
          find: async () => [{ name: 'u', labels: {} }],
          logs: async () => raw(logs.join('\n')),
        }),
      }),
    } as unknown as Drivers;
    const inspect = createInspectActivities(drivers, (text) => redact(text, [SECRET]));
    const told = await inspect.hostLogs({
      ref: fakeRef('h'),
      cluster: 'c',
      installation: 'i',
      runtimes: ['docker'],
      tailLines: 9,
      charactersMax: 2 ** 30,
      secrets: [],
    });
    expect(seen(told)).toEqual([]);
    expect(told.logs['u on h']).toContain('lorem');
  });
});

it('leaves no log with a piece of a secret on a host that keeps it, nor in why it could not', async () => {
  const kept: string[] = [];
  const keep = async (_unit: object, text: string) => {
    kept.push(text);
    if (kept.length > 1) throw new Error(`no space for ${text}`);
    return '/there';
  };
  const host = {
    ...fakeHost(() => ({})),
    runtime: () => ({ logs: async () => raw(`${TEXTS.join('\n')}\u001b[2J`) }),
    keptLogs: { keep },
  } as unknown as Host;
  const drivers = { secret: async () => SECRET } as unknown as Drivers;
  const unit = {
    ref: fakeRef('h'),
    name: 'u',
    runtime: 'docker',
    rank: 0,
    cluster: 'c',
    deployment: 1,
    installation: 'i',
  } as const;
  const told = [];
  for (const redact of [(text: string) => text, (text: string) => text])
    told.push(await keepLog(drivers, host, unit, [{ fromEnv: 'KEY' }], redact));
  expect(told).toEqual([{ path: '/there' }, { lost: expect.stringContaining('no space') }]);
  expect(kept[0]).toContain('lorem');
  expect([seen(kept), seen(told)]).toEqual([[], []]);
  expect(kept[0]).not.toContain('\u001b');
});

describe('a page of an engine that is not as expected', () => {
  const keys = { api_key: 'key-of-clients', admin_api_key: 'key-of-control' };
  const VERSION = z.object({ version: z.string() });

  it.each([
    ['of another shape', JSON.stringify({ ...keys, version: 5 }), 'version is no string'],
    ['without a field', JSON.stringify(keys), 'version is no string'],
    ['that is no object', '"key-of-control"', 'the whole is no object'],
    ['that was cut', JSON.stringify(keys).slice(0, 30), 'no JSON'],
  ])('%s is told by its field, and not quoted', (_, body, told) => {
    expect(() => readAs(VERSION, '/x', { status: 200, body: raw(body) })).toThrow(
      new RegExp(`^/x answered something else than expected: ${told}$`),
    );
  });
});
