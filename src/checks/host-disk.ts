import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';

/** Asked for where the size of the weights is not known: no model worth two roles is smaller. */
const FLOOR_GIB = 1;

/** The weights fit on the disk under `model.dir`. Not asked where they are used in place. */
export const hostDisk: HostCheck = {
  name: 'host-disk',
  judge({ weightsDisk }, { weights }) {
    if (!weights) return undefined;
    const needGiB = weights.needGiB ?? FLOOR_GIB;
    const wanted =
      weights.needGiB === undefined
        ? `the weights for model.dir ${weights.dir} need at least ${FLOOR_GIB} GiB (their size is not known yet)`
        : `the weights for model.dir ${weights.dir} need ${round(needGiB)} GiB`;
    const remedy = 'Free space there, or point model.dir at a larger volume.';
    if (!weightsDisk.value) return cannotTell({ what: 'Free disk space', why: weightsDisk.why, wanted, remedy });
    const evidence = `${round(weightsDisk.value.freeGiB)} GiB free on ${weightsDisk.value.mount}, ${wanted}`;
    return weightsDisk.value.freeGiB >= needGiB ? pass(evidence) : fail(evidence, remedy);
  },
};

const round = (gib: number): number => Math.round(gib * 10) / 10;
