/** The crash matrix: what runs, where in it, and what is struck. Pure: the campaign and `npm test` choose from it. */

export const OPERATIONS = ['first-deploy', 'change', 'destroy', 'unwind'] as const;
export type OperationName = (typeof OPERATIONS)[number];

/** What is struck. `cut-long` lasts until the operation has ended by itself. */
export const CRASHES = [
  'worker-of-two',
  'worker-alone',
  'server',
  'sshd',
  'router',
  'reboot',
  'cut-short',
  'cut-long',
] as const;
export type CrashName = (typeof CRASHES)[number];

export interface CrashCase {
  readonly operation: OperationName;
  /** The step that runs, or that is being undone in an unwind, when the crash comes. */
  readonly stage: string;
  readonly crash: CrashName;
}

const FIRST = [
  'reach-worker',
  'observe',
  'plan',
  'compare-router',
  'picture',
  'lease-gpus',
  'check-rocm',
  'check-rdma',
  'fetch-image',
  'stage-weights',
  'start-prefill',
  'start-decode',
  'start-router',
  'wire-router',
  'accept',
  'confirm',
  'remove-old',
  'release-gpus',
];

/** The steps of each operation in the order in which they run; of an unwind those that are undone. */
export const STAGES: Readonly<Record<OperationName, readonly string[]>> = {
  'first-deploy': FIRST,
  change: FIRST.filter((name) => name !== 'start-router').flatMap((name) =>
    name === 'confirm' ? ['retire-unwire', 'retire-stop', name] : [name],
  ),
  destroy: [
    'reach-worker',
    'observe',
    'unwire-engines',
    'stop-router',
    'stop-engines',
    'drop-partial-weights',
    'release-gpus',
    'confirm',
  ],
  unwind: ['wire-router', 'start-router', 'start-decode', 'start-prefill', 'stage-weights', 'lease-gpus'],
};

/** Steps that call nothing outside of the workflow when nothing is to be done in them: over before anybody sees them. */
export const INSTANT: Readonly<Record<OperationName, readonly string[]>> = {
  'first-deploy': ['compare-router', 'remove-old', 'release-gpus'],
  change: ['stage-weights'],
  destroy: ['unwire-engines'],
  unwind: [],
};

/** From and up to which stage a router runs that can be killed. */
const ROUTER: Readonly<Record<OperationName, { readonly from: string; readonly upTo: string }>> = {
  'first-deploy': { from: 'start-router', upTo: 'confirm' },
  change: { from: 'reach-worker', upTo: 'release-gpus' },
  destroy: { from: 'reach-worker', upTo: 'stop-router' },
  unwind: { from: 'wire-router', upTo: 'start-router' },
};

export const nameOf = ({ operation, stage, crash }: CrashCase): string => `${operation}/${stage}/${crash}`;

/** Every case that can happen. */
export function matrix(): readonly CrashCase[] {
  return OPERATIONS.flatMap((operation) =>
    CRASHES.flatMap((crash) => stagesFor(operation, crash).map((stage): CrashCase => ({ operation, stage, crash }))),
  );
}

function stagesFor(operation: OperationName, crash: CrashName): readonly string[] {
  const stages = STAGES[operation];
  const { from, upTo } = ROUTER[operation];
  const near = crash === 'router' ? stages.slice(stages.indexOf(from), stages.indexOf(upTo) + 1) : stages;
  return near.filter((stage) => !INSTANT[operation].includes(stage));
}

/**
 * Rounds of one crash and one case of each operation, stages chosen so that as many pairs of stage and crash as rounds
 * allow are met: each round takes the stages of its operation that fewest rounds before it took.
 */
export function pairwise(crashes: readonly CrashName[]): readonly (readonly CrashCase[])[] {
  const taken = new Map<string, number>();
  return crashes.map((crash, round) =>
    OPERATIONS.map((operation): CrashCase => {
      const stages = stagesFor(operation, crash);
      const rarest = Math.min(...stages.map((stage) => taken.get(`${operation}/${stage}`) ?? 0));
      const free = stages.filter((stage) => (taken.get(`${operation}/${stage}`) ?? 0) === rarest);
      const stage = free[(round * 5 + 3) % free.length]!;
      taken.set(`${operation}/${stage}`, rarest + 1);
      return { operation, stage, crash };
    }),
  );
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32 over an FNV-1a hash). */
export function randomOf(seed: string): () => number {
  let state = 2166136261;
  for (const character of seed) state = Math.imul(state ^ character.codePointAt(0)!, 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** In an order that the seed decides. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const rest = [...items];
  return Array.from({ length: rest.length }, () => rest.splice(Math.floor(random() * rest.length), 1)[0]!);
}
