import { sleep } from '@temporalio/workflow';
import {
  differences,
  type Difference,
  type HostPicture,
  type Kept,
  type PictureScope,
} from '../../src/facts/host-picture.ts';
import { modelPlan } from '../../src/plan/model.ts';
import { byText } from '../../src/plan/order.ts';
import type { HostRef } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { OperationInput } from '../messages.ts';
import { runtimesOn } from '../observe.ts';
import type { Operation } from '../operation.ts';
import type { Act } from '../proxies.ts';
import { enginesOf } from '../../src/plan/units.ts';
import { routerRef, type DeployContext } from './context.ts';

/** Notes what of this cluster is on every host of the plan, before anything is done there. */
export async function pictures(context: DeployContext): Promise<void> {
  const { plan, operation, note } = context;
  await operation.each(plan.hosts, async (ref, act) => {
    const picture = await pictureOf(act, ref, scopeIn(context, ref.name), routerAt(context, ref.name));
    note({ pictures: { [ref.name]: picture } });
  });
}

/** Looks at the same hosts again once all is undone; what differs is left behind, what could not be seen too. */
export async function compare(context: DeployContext): Promise<void> {
  const { plan, operation, ledger } = context;
  const { pictures: before } = ledger();
  const differs = (picture: HostPicture) => differences(before[picture.host], picture).filter(isMissed);
  await tell(operation, plan.hosts, differs, async (ref, act) => {
    const look = () => pictureOf(act, ref, scopeIn(context, ref.name), routerAt(context, ref.name));
    try {
      return await settled(look, differs);
    } catch (error) {
      operation.left(ref.name, error);
      return undefined;
    }
  });
}

/** Looks at hosts once a cluster is destroyed: nothing of it may be there. */
export async function nothingLeft(
  { spec, cluster, installation, serving }: OperationInput,
  operation: Operation,
  refs: readonly HostRef[],
): Promise<void> {
  const { path: modelPath } = modelPlan(spec);
  const differs = (picture: HostPicture) => differences(undefined, picture);
  await tell(operation, refs, differs, async (ref, act) => {
    const docker = runtimesOn(spec, ref.name, serving).includes('docker');
    const scope = { cluster, installation, docker, ports: [], modelPath, images: imagesOf(spec) };
    const look = () => pictureOf(act, ref, scope);
    const first = await look();
    // Of a start or a removal that was cut off: no unit is there to be found by.
    const folders = foldersIn(first);
    if (folders.length > 0) await act({ summary: `delete folders on ${ref.name}` }).removeFolders({ ref, folders });
    return differs(first).length === 0 ? first : await settled(look, differs);
  });
}

/** Tells the operation what hosts show in the end; in the order of hosts, whichever answered first. */
async function tell(
  operation: Operation,
  refs: readonly HostRef[],
  differs: (picture: HostPicture) => readonly Difference[],
  see: (ref: HostRef, act: Act) => Promise<HostPicture | undefined>,
): Promise<void> {
  const seen: HostPicture[] = [];
  await operation.each(refs, async (ref, act) => {
    const picture = await see(ref, act);
    if (picture) seen.push(picture);
  });
  operation.compared(
    seen.flatMap(differs).toSorted((a, b) => byText(a.host, b.host)),
    seen.flatMap(keptRows).toSorted(byText),
  );
}

/** Folders of deployments, and those of jobs that are half made or half removed: no unit uses them. */
function foldersIn({ things }: HostPicture): readonly string[] {
  const folders = (things.file ?? []).flatMap((path) => /\/((?:deployments\/|jobs\/\.)[^/]+)\//.exec(path)?.[1] ?? []);
  return [...new Set(folders)].toSorted(byText);
}

/** A command of somebody who reads this cluster's logs or health looks like one that was lost: what is not clean is looked at again. */
async function settled(
  look: () => Promise<HostPicture>,
  differs: (picture: HostPicture) => readonly Difference[],
): Promise<HostPicture> {
  let picture = await look();
  for (let turn = 0; turn < LOOKS_AGAIN && differs(picture).length > 0; turn += 1) {
    await sleep(LOOK_AGAIN_MS);
    picture = await look();
  }
  return picture;
}

const LOOKS_AGAIN = 2;
const LOOK_AGAIN_MS = 1_000;

const pictureOf = (
  act: Act,
  ref: HostRef,
  scope: PictureScope,
  router?: ReturnType<typeof routerAt>,
): Promise<HostPicture> =>
  act({ summary: `picture of ${ref.name}` }).pictureHost({ ref, scope, ...(router ? { router } : {}) });

function scopeIn({ input, plan }: DeployContext, host: string): PictureScope {
  const { cluster, installation, spec, serving } = input;
  const ports = enginesOf(plan).flatMap(({ ranks }) =>
    ranks.filter((rank) => rank.host === host).flatMap((rank) => rank.ports),
  );
  const { router } = plan;
  if (router.kind === 'managed' && router.host === host) ports.push(router.port);
  return {
    cluster,
    installation,
    docker: runtimesOn(spec, host, serving).includes('docker'),
    ports: [...new Set(ports)].toSorted((a, b) => a - b),
    modelPath: plan.model.path,
    images: plan.images.filter(({ hosts }) => hosts.includes(host)).map(({ reference }) => reference),
  };
}

/** The router whose list the picture of its host shows: the kept one, or the one that is replaced, as the record has it. */
function routerAt({ plan, input, ref }: DeployContext, host: string) {
  const { router } = plan;
  const { serving } = input;
  if (router.kind === 'external' || router.host !== host || !serving) return undefined;
  return { router: { ...router, url: serving.router.url }, ...routerRef(plan, ref) };
}

const imagesOf = ({ engine, prefill, decode, router }: ClusterSpec): string[] => {
  const named = [engine.image, prefill.image, decode.image, 'image' in router ? router.image : undefined];
  return [...new Set(named.filter((image) => image !== undefined))];
};

/** Partial weights of an earlier deployment went into the copy of this one, or with it. */
const isMissed = ({ change, kind, what }: Difference): boolean =>
  !(change === 'gone' && kind === 'file' && what.includes('.partial-'));

const keptRows = ({ host, kept }: HostPicture): string[] =>
  kept.map(({ kind, what, bytes }) => `${host}: ${kind} ${what} (${sizeOf(kind, bytes)})`);
const sizeOf = (kind: Kept['kind'], bytes: number): string =>
  kind === 'log' ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${(bytes / 2 ** 30).toFixed(1)} GiB`;
