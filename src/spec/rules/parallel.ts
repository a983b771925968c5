import { engineArgs, KV_FLAGS, parallelSizes } from '../engine-args.ts';
import type { Path } from '../violation.ts';
import type { ClusterSpec, FlagValue } from '../schema.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** Tensor, pipeline and data ranks fill the GPUs of an engine exactly. */
export const possibleParallelSizes: Rule = function* (spec) {
  for (const role of ROLES) {
    const args = engineArgs(spec, role);
    const path = (flag: string): Path => args.get(flag)?.path ?? [role, 'gpus', 'count'];
    const { hostsPerReplica, gpus: each } = spec[role];
    const { gpus, tp, pp, dp, dpAttention } = parallelSizes(spec, role);
    const have = `a ${role} engine has ${gpus} (${each.count} on ${hostsPerReplica === 1 ? 'one host' : `each of ${hostsPerReplica} hosts`})`;
    const bad = (['tp-size', 'pp-size', 'dp-size'] as const).find((flag) => {
      const value = args.get(flag)?.value;
      return value !== undefined && value !== false && !(Number(value) >= 1);
    });
    if (bad) {
      yield error({ path: path(bad), message: 'must be at least 1', remedy: 'Write how many ranks there are.' });
      continue;
    }
    if (![tp, pp, dp].every(Number.isInteger)) {
      const ranks = dpAttention ? pp : pp * dp;
      yield error({
        path: args.has('pp-size') ? path('pp-size') : path('dp-size'),
        message: `${ranks} groups of ranks cannot share the GPUs evenly: ${have}`,
        remedy: `Choose a number that divides ${gpus}.`,
      });
      continue;
    }
    if (dpAttention && tp % dp !== 0) {
      yield error({
        path: path('dp-size'),
        message: `dp-size ${dp} does not divide tp-size ${tp}, which data-parallel attention needs`,
        remedy: `Choose a dp-size that divides ${tp}.`,
      });
    }
    if (dp > 1 && !dpAttention && hostsPerReplica > 1) {
      yield error({
        path: path('dp-size'),
        message: `dp-size ${dp} over ${hostsPerReplica} hosts needs data-parallel attention`,
        remedy: 'Set attn-dp-size (enable-dp-attention in older versions), or hostsPerReplica: 1.',
      });
      continue;
    }
    const wanted = tp * pp * (dpAttention ? 1 : dp);
    const sum = `tp-size ${tp}${pp > 1 ? ` × pp-size ${pp}` : ''}${dp > 1 && !dpAttention ? ` × dp-size ${dp}` : ''}`;
    const at = path(args.has('tp-size') ? 'tp-size' : args.has('pp-size') ? 'pp-size' : 'dp-size');
    if (wanted > gpus || (wanted < gpus && hostsPerReplica > 1)) {
      yield error({
        path: at,
        message: `${sum} wants ${wanted} GPUs, ${have}`,
        remedy: `Take the size out, which gives tp-size ${gpus / (pp * (dpAttention ? 1 : dp))}, or change ${role}.gpus.count.`,
      });
    } else if (wanted < gpus) {
      yield warning({
        path: at,
        message: `${sum} wants ${wanted} GPUs, ${have}: the rest would be leased and idle`,
        remedy: `Set ${role}.gpus.count: ${wanted}.`,
      });
    }
  }
};

/** Models whose KV cache does not depend on the tensor-parallel size (multi-head latent attention), by their names. */
const LATENT_ATTENTION = /deepseek-(?:v[2-9]|r1)|kimi-k2/i;

/** sgl-project/sglang 15674: works at low load, crashes under load. */
export const equalTensorParallel: Rule = function* (spec) {
  const [prefill, decode] = ROLES.map((role) => parallelSizes(spec, role).tp);
  const latent = LATENT_ATTENTION.test(spec.model.id) && !/distill/i.test(spec.model.id);
  if (prefill === decode || latent) return;
  yield warning({
    path: engineArgs(spec, 'decode').get('tp-size')?.path ?? ['decode', 'gpus', 'count'],
    message: `tp-size is ${prefill} of prefill and ${decode} of decode: models without latent attention crash so under load (sgl-project/sglang 15674)`,
    remedy: 'Give both roles the same tensor-parallel size, unless this model has latent attention.',
  });
};

/** What one role writes into its KV cache, the other reads as it is. */
export const sharedKvFlags: Rule = function* (spec) {
  const prefill = engineArgs(spec, 'prefill');
  const decode = engineArgs(spec, 'decode');
  for (const flag of KV_FLAGS) {
    const [p, d] = [prefill, decode].map((args) => shown(spec, flag, args.get(flag)?.value));
    if (p !== d) {
      yield error({
        path: (decode.get(flag) ?? prefill.get(flag))!.path,
        message: `${flag} is ${p} of prefill and ${d} of decode; they hand the KV cache over, so it must be the same`,
        remedy: `Set ${flag} once, under engine.args.`,
      });
    } else if (flag === 'disaggregation-transfer-backend' && p !== spec.rdma.backend) {
      yield error({
        path: decode.get(flag)!.path,
        message: `is ${p}, and rdma.backend is ${spec.rdma.backend}`,
        remedy: 'Set rdma.backend, and take the flag out.',
      });
    }
  }
};

function shown(spec: ClusterSpec, flag: string, value: FlagValue | undefined): string {
  if (value !== undefined && value !== false) return Array.isArray(value) ? value.join(',') : `${value}`;
  return flag === 'disaggregation-transfer-backend' ? spec.rdma.backend : 'the default';
}
