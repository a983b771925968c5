import type { Finding } from '../src/checks/check.ts';
import type { HostDemand } from '../src/checks/demand.ts';
import { judgeHost } from '../src/checks/index.ts';
import type { Drivers, Host } from '../src/drivers/types.ts';
import { type HostFacts, type QuestionOptions, hostQuestions, readHostFacts } from '../src/facts/host-facts.ts';
import type { HostRef } from '../src/plan/types.ts';
import { signal } from './context.ts';

/** Asks a host everything in one round trip. Errors: HOST_*. A tool that fails or hangs is an answer of its own. */
export async function askHost(host: Host, options: QuestionOptions): Promise<HostFacts> {
  const questions = hostQuestions(options);
  // In order and not side by side: AMD's tools lock the GPU and answer "busy" to each other.
  const outputs = await host.runAll(questions.map(({ argv, timeoutMs }) => ({ argv, timeoutMs })));
  return readHostFacts(Object.fromEntries(questions.map(({ name }, index) => [name, outputs[index]!])));
}

/** What a spec adds to the questions, its "~" expanded on the host. */
export async function questionOptions(
  host: Host,
  { weights, rdma: { providerLibrary } }: Pick<HostDemand, 'weights' | 'rdma'>,
): Promise<QuestionOptions> {
  return {
    ...(weights === undefined ? {} : { weightsDir: await host.expand(weights.dir) }),
    ...(providerLibrary.startsWith('/') ? { providerLibrary } : {}),
  };
}

/** The activities of the host checks. */
export const createRocmActivities = (drivers: Pick<Drivers, 'host'>) => ({
  /** Judges one host against what the plan wants of it; failures are findings, not errors. Errors: HOST_*. */
  async checkHost({ ref, demand }: { readonly ref: HostRef; readonly demand: HostDemand }): Promise<Finding[]> {
    const host = drivers.host(ref, signal());
    return judgeHost(await askHost(host, await questionOptions(host, demand)), demand);
  },
});
