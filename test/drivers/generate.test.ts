import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { complete, GenerateFailed, stream } from '../../src/drivers/generate.ts';
import { localDrivers } from '../support/local-host.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { event, GOOD_EVENTS, standIn, type StandIn } from '../support/stand-in-engine.ts';

const { fetch } = localDrivers([]);
let engine: StandIn;
let port = 30_000;
beforeEach(async () => {
  port += 1; // A port of its own, or fetch would try a kept connection to the engine of the test before.
  engine = standIn('127.84.2.1', port, 'decode');
  await engine.listening;
});
afterEach(async () => {
  engine.exit(0);
  await engine.exited;
});

const request = (streamed: boolean, timeoutMs = ANSWER_MS) => ({
  fetch,
  url: `${engine.url}/v1/completions`,
  key: 'k',
  body: JSON.stringify({ prompt: 'x', stream: streamed }),
  timeoutMs,
});
const ended = async (events: readonly string[]) => {
  engine.answers = { events, eventMs: 10 };
  return await stream(request(true)).then(
    () => 'accepted',
    (error: Error) => `${error.name}: ${error.message}`,
  );
};
const error = JSON.stringify({ error: { message: 'Stream error: unexpected EOF', type: 'stream_error' } });

describe('a stream', () => {
  it('is accepted with its text, its tokens by usage and the times of its texts', async () => {
    const answer = await stream(request(true));
    expect(answer).toMatchObject({ text: 'abc', outputTokens: 3 });
    expect(answer.gapsMs).toHaveLength(2);
    expect(answer.ttftMs).toBeLessThanOrEqual(answer.totalMs);
    expect(engine.keys).toEqual(['Bearer k']);
  });

  it.each<[string, readonly string[], RegExp]>([
    [
      'has an error event, though [DONE] follows',
      [event('a'), error, '[DONE]'],
      /an error inside status 200.*Stream error/,
    ],
    ['is nothing but an error and [DONE]', [error, '[DONE]'], /an error inside status 200/],
    ['is cut in the middle', [event('a'), 'CUT'], /cut after 1 texts|without \[DONE\] after 1 texts/],
    [
      'ends politely without [DONE]',
      [event('a'), event('', 'length'), JSON.stringify({ usage: { completion_tokens: 1 } })],
      /without \[DONE\]/,
    ],
    [
      'was aborted',
      [event('a'), event('', 'abort'), JSON.stringify({ usage: { completion_tokens: 1 } }), '[DONE]'],
      /aborted/,
    ],
    [
      'never says why it finished',
      [event('a'), JSON.stringify({ usage: { completion_tokens: 1 } }), '[DONE]'],
      /no finish reason/,
    ],
    [
      'generated nothing',
      [event('', 'stop'), JSON.stringify({ usage: { completion_tokens: 0 } }), '[DONE]'],
      /no tokens/,
    ],
    ['is not JSON', ['<html>', '[DONE]'], /not an answer/],
  ])('fails when it %s', async (_, events, why) => {
    expect(await ended(events)).toMatch(why);
  });

  it('fails when it does not end within its limit', async () => {
    engine.answers = { events: GOOD_EVENTS, eventMs: 200 };
    await expect(stream(request(true, 300))).rejects.toThrow(/cut after \d texts: no answer within the limit/);
  });

  it('tells its first text from the role-only chunk of a chat', async () => {
    const role = JSON.stringify({ choices: [{ delta: { role: 'assistant', content: '' }, finish_reason: null }] });
    const word = JSON.stringify({ choices: [{ delta: { content: 'hi' }, finish_reason: 'stop' }] });
    engine.answers = {
      events: [role, word, JSON.stringify({ choices: [], usage: { completion_tokens: 1 } }), '[DONE]'],
    };
    expect(await stream(request(true))).toMatchObject({ text: 'hi', gapsMs: [] });
  });
});

describe('an answer in one piece', () => {
  it('is accepted with its text and tokens', async () => {
    expect(await complete(request(false))).toMatchObject({ text: 'abc', outputTokens: 3, gapsMs: [] });
  });

  it.each<[string, { status: number; body: unknown }, RegExp]>([
    [
      'a status that is not 200',
      { status: 500, body: { object: 'error', message: 'Decode transfer failed' } },
      /status 500: .*Decode transfer failed/,
    ],
    [
      'an error under status 200',
      { status: 200, body: { object: 'error', message: 'x', code: 400 } },
      /an error inside status 200/,
    ],
    [
      'a finish reason of abort',
      { status: 200, body: { choices: [{ text: 'a', finish_reason: 'abort' }], usage: { completion_tokens: 1 } } },
      /aborted/,
    ],
    ['no choice at all', { status: 200, body: {} }, /no finish reason/],
  ])('fails on %s', async (_, completion, why) => {
    engine.answers = { completion };
    await expect(complete(request(false))).rejects.toThrow(why);
  });

  it('says that the connection was refused, without a status', async () => {
    const refused = complete({ ...request(false), url: 'http://127.84.2.9:30000/v1/completions' });
    const failure = await refused.catch((reason: unknown) => reason);
    expect(failure).toBeInstanceOf(GenerateFailed);
    expect(failure).toMatchObject({ status: undefined, message: 'no answer: connection refused' });
  });
});

describe('what is asked of engines', () => {
  it('is never top_logprobs: one such request kills a prefill engine of SGLang 0.5.10 to 0.5.13', async () => {
    const root = join(import.meta.dirname, '../..');
    const files = ['src', 'activities', 'workflows', 'bench'].map(async (room) =>
      (await readdir(join(root, room), { recursive: true })).map((file) => join(room, file)),
    );
    const sources = (await Promise.all(files))
      .flat()
      // The simulated engine dies of it, as the real one does.
      .filter((file) => file.endsWith('.ts') && !file.startsWith('src/sim/engine/'));
    expect(sources).toContain('activities/acceptance.ts');
    const texts = sources.map(async (file) => [file, await readFile(join(root, file), 'utf8')] as const);
    const asking = (await Promise.all(texts)).filter(([, text]) => /top_?logprobs/i.test(text));
    expect(asking.map(([file]) => file)).toEqual([]);
  });
});
