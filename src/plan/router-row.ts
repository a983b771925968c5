import { routerContainer } from '../sglang/container.ts';
import { hostPort } from '../sglang/engine-argv.ts';
import { hasPairingKeys, routerArgv, routerMetricsPort } from '../sglang/router-argv.ts';
import { routerVersion } from '../spec/flags.ts';
import type { ClusterSpec, ManagedRouterSpec } from '../spec/schema.ts';
import type { RouterRow } from './digest.ts';
import type { Listener } from './ports.ts';
import { withoutEndSlashes } from './slashes.ts';
import type { ExternalRouterPlan } from './types.ts';

/** The external router of a spec, which Tandem neither starts nor stops; undefined when the spec runs its own. */
export function externalRouter({ router }: ClusterSpec): ExternalRouterPlan | undefined {
  if (!('external' in router)) return undefined;
  const { url, implementation, apiKey, adminKey } = router.external;
  return {
    kind: 'external',
    url: withoutEndSlashes(url),
    implementation,
    version: routerVersion(router),
    pairingKeys: hasPairingKeys(router),
    ...(apiKey && { apiKey }),
    ...(adminKey && { adminKey }),
  };
}

/** Everything that says what a managed router is. */
export function routerRow(spec: ClusterSpec, router: ManagedRouterSpec): RouterRow {
  const address = routerAddress(spec, router);
  const reached = address === '0.0.0.0' || address === '::' ? hostAddress(spec, router) : address;
  return {
    kind: 'managed',
    url: `http://${hostPort(reached, router.port)}`,
    implementation: router.implementation,
    version: routerVersion(router),
    pairingKeys: hasPairingKeys(router),
    ...(router.apiKey && { apiKey: router.apiKey }),
    ...(router.adminKey && { adminKey: router.adminKey }),
    host: router.host,
    port: router.port,
    runtime: router.runtime,
    argv: routerArgv(router, address),
    env: router.env,
    ...(router.runtime === 'docker' && { container: routerContainer(router.image ?? '') }),
    readyTimeoutSeconds: router.readyTimeoutSeconds,
  };
}

/** The ports of a managed router, by the address that it binds. */
export function routerListeners(spec: ClusterSpec, router: ManagedRouterSpec): readonly Listener[] {
  const listener = { owner: 'router', host: router.host, address: routerAddress(spec, router) };
  const metrics = Number(router.args['prometheus-port'] ?? routerMetricsPort(router.port));
  return [router.port, metrics].map((port) => ({ ...listener, port }));
}

const routerAddress = (spec: ClusterSpec, router: ManagedRouterSpec): string =>
  router.listen ?? hostAddress(spec, router);

/** `rules.ts` has seen that the host is in the spec. */
const hostAddress = ({ hosts }: ClusterSpec, router: ManagedRouterSpec): string =>
  hosts.list.find(({ name }) => name === router.host)!.address;
