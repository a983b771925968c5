import { engineFlags, routerFlags, uncheckedFlags } from './rules/args.ts';
import { hiddenSecrets, oneKindOfVariable, plainLogins, plainSecrets } from './rules/env.ts';
import { enoughGpus } from './rules/gpus.ts';
import {
  distinctAddresses,
  distinctFabricAddresses,
  distinctNames,
  knownHosts,
  passwordNeedsSudo,
} from './rules/hosts.ts';
import { imageForDocker, readableEndpoint, readableSource } from './rules/images.ts';
import { oneClientKey } from './rules/keys.ts';
import { knownChecks, movableUpgrade, reachableConcurrency, slowTransport } from './rules/operations.ts';
import { equalTensorParallel, possibleParallelSizes, sharedKvFlags } from './rules/parallel.ts';
import { distinctPorts, routerPort, spreadPorts } from './rules/ports.ts';
import type { Rule } from './rules/rule.ts';

/** Every rule across keys. Each looks at the spec alone: nothing is contacted. */
export const RULES: readonly Rule[] = [
  distinctNames,
  distinctAddresses,
  distinctFabricAddresses,
  knownHosts,
  passwordNeedsSudo,
  enoughGpus,
  distinctPorts,
  spreadPorts,
  routerPort,
  possibleParallelSizes,
  equalTensorParallel,
  sharedKvFlags,
  imageForDocker,
  readableSource,
  readableEndpoint,
  engineFlags,
  routerFlags,
  uncheckedFlags,
  plainSecrets,
  plainLogins,
  oneKindOfVariable,
  hiddenSecrets,
  oneClientKey,
  slowTransport,
  knownChecks,
  movableUpgrade,
  reachableConcurrency,
];
