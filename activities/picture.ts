import { DeployError } from '../src/errors.ts';
import type { Drivers } from '../src/drivers/types.ts';
import { withEntries, type HostPicture, type PictureScope } from '../src/facts/host-picture.ts';
import type { HostRef } from '../src/plan/types.ts';
import { signal } from './context.ts';
import { listOf, type RouterAt } from './router.ts';

export interface PictureHost {
  readonly ref: HostRef;
  readonly scope: PictureScope;
  /** The router that Tandem runs on this host: its entries are in the picture. */
  readonly router?: RouterAt;
}

/** Looking at everything of one cluster on a host. */
export function createPictureActivities(drivers: Drivers) {
  return {
    /** Takes the picture of one host; changes nothing. Errors: those of `Host.picture`; ROUTER_FAILED when the router refuses. */
    async pictureHost({ ref, scope, router }: PictureHost): Promise<HostPicture> {
      const picture = await drivers.host(ref, signal()).picture(scope);
      if (!router || router.router.kind === 'external') return picture; // Others may share that one.
      return withEntries(picture, await entriesOf(drivers, router));
    },
  };
}

/** Of a router that does not answer none: with its process its list is gone. */
async function entriesOf(drivers: Drivers, at: RouterAt): Promise<string[]> {
  try {
    const listed = await listOf(drivers, at);
    return listed.map(({ url, pairingKey }) => (pairingKey === undefined ? url : `${url} under key ${pairingKey}`));
  } catch (error) {
    if (error instanceof DeployError && error.code === 'ROUTER_FAILED' && error.retryable) return [];
    throw error;
  }
}
