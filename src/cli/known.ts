import type { TandemClient } from '../client.ts';
import { DeployError } from '../errors.ts';
import { nearest } from '../spec/nearest.ts';
import { withClient } from './output.ts';

/** `withClient` for a verb about one cluster: where that is not known, the error names the known one that is nearest. */
export const withCluster = (
  cluster: string,
  json: boolean | undefined,
  body: (client: TandemClient) => Promise<void>,
  identity?: string,
): Promise<void> =>
  withClient(
    json,
    (client) =>
      body(client).catch(async (error: unknown) => {
        throw isUnknown(error) ? await withNearest(error, cluster, client) : error;
      }),
    identity,
  );

const isUnknown = (error: unknown): error is DeployError =>
  error instanceof DeployError && error.code === 'CLUSTER_UNKNOWN';

async function withNearest(error: DeployError, cluster: string, client: TandemClient): Promise<DeployError> {
  const names = await client.clusters().catch(() => []);
  const near = nearest(
    cluster,
    names.filter((name) => name !== cluster),
  );
  if (near === undefined) return error;
  const { code, message, remedy, retryable, cause } = error;
  return new DeployError({ code, message: `${message}; did you mean ${near}?`, remedy, retryable, cause });
}
