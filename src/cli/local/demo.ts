import { connectClient } from '../../client.ts';
import { DeployError } from '../../errors.ts';
import type { Serving } from '../../plan/types.ts';
import { note } from '../output.ts';
import { raw } from '../../text/raw.ts';

const CHAT_TIMEOUT_MS = 30_000;
const PROMPT = 'Why are prefill and decode served by different hosts?';

/** Sends one chat through the router and shows which engines answered it. */
export async function chat(cluster: string): Promise<void> {
  const client = await connectClient();
  const { serving } = await client.record(cluster).finally(() => client.close());
  if (!serving)
    throw new DeployError({
      code: 'ACCEPTANCE_FAILED',
      message: `${cluster} serves nothing`,
      remedy: `See \`tandem status ${cluster}\`.`,
      retryable: false,
    });
  const before = await prefillCounters(serving);
  const response = await fetch(`${serving.router.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: serving.model, max_tokens: 24, messages: [{ role: 'user', content: PROMPT }] }),
    signal: AbortSignal.timeout(CHAT_TIMEOUT_MS),
  });
  const body = await response.text();
  if (!response.ok)
    throw new DeployError({
      code: 'ACCEPTANCE_FAILED',
      message: `the router answered ${response.status}`,
      remedy: `See \`tandem logs ${cluster}\`.`,
      retryable: false,
      evidence: raw(body),
    });
  const answer = JSON.parse(body) as { choices: { message: { content: string } }[] };
  const decodeUrl = response.headers.get('x-smg-routed-worker-id');
  const after = await prefillCounters(serving);
  const nameAt = (url: string | null | undefined) =>
    serving.engines.find((engine) => engine.url === url)?.name ?? 'unknown';
  const prefillUrl = [...after].find(([url, count]) => count > (before.get(url) ?? 0))?.[0];
  note(
    `chat      ${PROMPT}\nanswer    ${answer.choices[0]?.message.content.trim() ?? ''}\nprefill   ${nameAt(prefillUrl)}\ndecode    ${nameAt(decodeUrl)}`,
  );
}

/** Requests that each prefill engine has taken, by its own counter. */
async function prefillCounters({ engines }: Serving): Promise<ReadonlyMap<string, number>> {
  const prefill = engines.filter(({ role }) => role === 'prefill');
  return new Map(
    await Promise.all(
      prefill.map(async ({ url }) => {
        const text = await (await fetch(`${url}/metrics`, { signal: AbortSignal.timeout(CHAT_TIMEOUT_MS) })).text();
        const counts = [...text.matchAll(/^sglang:num_requests_total(?:\{[^}]*\})? (\S+)$/gm)].map(([, value]) =>
          Number(value),
        );
        return [url, counts.reduce((sum, count) => sum + count, 0)] as const;
      }),
    ),
  );
}
