import { DeployError } from '../errors.ts';
import { digestOf } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { withoutEndSlashes } from './slashes.ts';
import type { ModelPlan } from './types.ts';

/**
 * Which weights, and where engines read them: `file://` where it lies, everything else in `<dir>/<id>/<revision>`.
 * Only hf:// names revisions; for the others the revision is a digest of the source, so that two sources of one model
 * never share a folder.
 */
export function modelPlan({ model }: ClusterSpec): ModelPlan {
  const inPlace = usedInPlace(model);
  const revision = hubRevision(model.source) ?? `source-${hex(model.source, 12)}`;
  const path = inPlace ? model.source.slice('file://'.length) : stagedPath(model.dir, model.id, revision);
  return { id: model.id, revision, path: withoutEndSlashes(path) };
}

/**
 * Lies under model.dir, also where a spec came here by another way than its file: a folder elsewhere would be written to,
 * and removed. Errors: PLAN_IMPOSSIBLE.
 */
function stagedPath(dir: string, id: string, revision: string): string {
  const part = `${id}/${revision}`.split('/').find((one) => /^\.{0,2}$|[\p{Cc}\p{Cf}]/u.test(one));
  if (part === undefined) return `${dir}/${id}/${revision}`;
  throw new DeployError({
    code: 'PLAN_IMPOSSIBLE',
    message: `the weights of model.id ${JSON.stringify(id)} at revision ${JSON.stringify(revision)} would not lie under model.dir ${dir}: a part of the path is ${JSON.stringify(part)}`,
    remedy: 'Name the model as organisation/name, and a revision without "..", "//" and control characters.',
    retryable: false,
  });
}

/** True for file:// weights that are not copied. */
export const usedInPlace = ({ source, copy }: ClusterSpec['model']): boolean => source.startsWith('file://') && !copy;

/** What an operator should know of the source before. */
export function modelWarnings({ model }: ClusterSpec): string[] {
  const revision = hubRevision(model.source);
  if (revision === undefined || /^[0-9a-f]{40}$/.test(revision)) return [];
  return [
    `model.source has the revision "${revision}", which can move on the Hub; name a commit so that every host gets the same weights`,
  ];
}

function hubRevision(source: string): string | undefined {
  if (!source.startsWith('hf://')) return undefined;
  const at = source.lastIndexOf('@');
  return at < 0 || at === source.length - 1 ? 'main' : source.slice(at + 1);
}

const hex = (value: unknown, digits: number): string => digestOf(value).slice('sha256:'.length).slice(0, digits);
