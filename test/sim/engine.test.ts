import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { ask, endAll, modelFolder, serve } from './engine-support.ts';

let model = '';
beforeAll(async () => {
  model = await modelFolder();
});
afterEach(endAll);

describe('a pair of engines', () => {
  it('answers a chat that both halves were sent, with the decode engine’s words', async () => {
    const prefill = await serve({ role: 'prefill', model });
    const decode = await serve({ role: 'decode', model });
    const { prefill: first, decode: second } = await ask(prefill, decode);
    expect(second.status).toBe(200);
    expect(first.status).toBe(200);
    expect(second.json()).toMatchObject({ model: 'any-name', usage: { completion_tokens: 8 } });
    expect(first.json()).toMatchObject({ usage: { completion_tokens: 1 } });
  });
});
