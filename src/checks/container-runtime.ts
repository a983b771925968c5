import { satisfies } from '../facts/version.ts';
import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';

/** The first Docker Engine that knows cgroup v2, which every current distribution boots with. */
const RANGE = '>=20.10';
const REMEDY = 'Install Docker Engine 20.10 or newer, start it, and put the SSH user into the group docker.';

/** The Docker Engine answers the SSH user and is not too old. Not asked where everything runs as processes. */
export const containerRuntime: HostCheck = {
  name: 'container-runtime',
  judge({ docker }, demand) {
    if (!demand.docker) return undefined;
    const wanted = `runtime docker needs ${RANGE}`;
    if (docker.value === undefined) {
      return cannotTell({ what: 'The Docker Engine', why: docker.why, wanted, remedy: REMEDY });
    }
    const evidence = `Docker Engine ${docker.value}, ${wanted}`;
    return satisfies(docker.value, RANGE) ? pass(evidence) : fail(evidence, REMEDY);
  },
};
