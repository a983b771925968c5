import type { ExternalRouterSpec, ManagedRouterSpec } from '../spec/schema.ts';
import { canonicalFlag, flagList, newestFlagList, routerVersion } from '../spec/flags.ts';
import { type Args, argv } from './args.ts';

const MODULES = { smg: 'smg.launch_router', 'sglang-router': 'sglang_router.launch_router' } as const;
/** True for routers that keep KV generations apart by a key per engine: smg from 1.11 on, never sglang-router. */
export function hasPairingKeys(router: ManagedRouterSpec | ExternalRouterSpec): boolean {
  const { implementation } = 'external' in router ? router.external : router;
  if (implementation !== 'smg') return false;
  const [major = 0, minor = 0] = routerVersion(router)
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return major > 1 || (major === 1 && minor >= 11);
}

/** How long a router asks an engine that it is to list whether it is ready, in seconds. */
export const QUEUED_SECONDS = 110;

/**
 * What Tandem asks of a router unless the spec says otherwise. Ten retries of whole pairs hid every death of a new
 * prefill engine in trials, where five did not; an engine is seen to be ready within a second rather than thirty, and
 * to be gone within seconds rather than minutes. smg goes on for half an hour to ask an engine that was to be listed,
 * and lists it then, even when it was told to remove it meanwhile: here for no longer than Tandem waits. The
 * metrics port would otherwise be one for all routers of a host.
 */
const defaults = ({ port }: ManagedRouterSpec, address: string): Args => ({
  'retry-max-retries': 10,
  'health-check-interval-secs': 5,
  'worker-startup-check-interval': 1,
  'worker-startup-timeout-secs': QUEUED_SECONDS,
  'prometheus-host': address,
  'prometheus-port': routerMetricsPort(port),
});

/** The command line of the router, without keys and without engines: those are registered once they are ready. */
export function routerArgv(router: ManagedRouterSpec, address: string): readonly string[] {
  const { implementation } = router;
  const list = flagList(implementation, routerVersion(router)) ?? newestFlagList(implementation);
  const planned: Args = { 'pd-disaggregation': true, host: address, port: router.port, policy: router.policy };
  const known = Object.entries(defaults(router, address)).filter(([name]) => name in list.flags);
  const users = Object.entries(router.args).map(([name, value]) => [canonicalFlag(list, name), value] as const);
  const others = [...new Map([...known, ...users])]
    .filter(([name]) => !(name in planned))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...(router.command ?? ['python3', '-m', MODULES[implementation]]),
    ...argv(planned, list.flags),
    ...argv(Object.fromEntries(others), list.flags),
  ];
}

/**
 * Where a router prints its metrics: 1000 below its own port, which for the default 30000 is smg's own default, so
 * that two routers of one host never meet.
 */
export const routerMetricsPort = (port: number): number => (port >= 2024 ? port - 1000 : port + 1000);
