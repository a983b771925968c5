import { byText } from './order.ts';
import type { EnginePlan, Move, MoveName, Plan, Stage } from './types.ts';
import { enginesOf, goingNames, replacedRouters } from './units.ts';

/**
 * What a deploy does, and when. What serves is untouched until `prepare` has ended well; what `tidy` does cannot be undone.
 * The Temporal worker carries these rows out and `tandem plan` prints them: nowhere else is their order.
 */
export function stagesOf(plan: Omit<Plan, 'stages' | 'changes' | 'warnings'>): readonly Stage[] {
  const { prefill, decode, router } = plan;
  const engines = enginesOf(plan);
  const own = router.kind === 'managed' ? [router] : [];
  const routers = own.filter(({ action }) => action !== 'keep');
  const inTheWay = names(plan.removals.filter(({ first }) => first));
  const needless = names(plan.removals.filter(({ first }) => !first));
  const starting = engines.filter(({ action }) => action !== 'keep').flatMap(hostsOf);
  return [
    {
      name: 'prepare',
      moves: [
        move('lease-gpus', hosts(plan.leases)),
        move('check-rocm', unique([...starting, ...hosts(routers)])),
        move(
          'check-rdma',
          unique(plan.rounds.flatMap(({ tests }) => tests.flatMap(({ source, target }) => [source.host, target.host]))),
        ),
        // Before the weights: an image unpacks while they move.
        move(
          'fetch-image',
          plan.images.map(({ reference }) => reference),
        ),
        move('stage-weights', hosts(plan.staging)),
      ],
    },
    {
      name: 'change',
      moves: [
        ...where(inTheWay, 'make-room-unwire', 'make-room-stop'),
        move('start-prefill', names(unproven(prefill))),
        move('start-decode', names(unproven(decode))),
        ...where(replacedRouters(router), 'stop-old-router'),
        ...where(names(routers), 'start-router'),
        move('wire-router', names(engines)),
        move('accept', names(unproven(engines))),
        ...where(needless, 'retire-unwire', 'retire-stop'),
        move('confirm', unique([...engines.flatMap(hostsOf), ...hosts(own)])),
      ],
    },
    {
      name: 'tidy',
      moves: [move('remove-old', goingNames(plan)), move('release-gpus', hosts(plan.releases))],
    },
  ];
}

const move = (name: MoveName, on: readonly string[]): Move => ({ name, on });
/** Moves that are left out where there is nothing to do. */
const where = (on: readonly string[], ...moves: readonly MoveName[]): Move[] =>
  on.length > 0 ? moves.map((name) => move(name, on)) : [];

/** Those that start, and those that no deployment which ended well has had. */
const unproven = (engines: readonly EnginePlan[]) => engines.filter(({ proven }) => !proven);
const names = (rows: readonly { readonly name: string }[]): string[] => rows.map(({ name }) => name);
const hosts = (rows: readonly { readonly host: string }[]): string[] => rows.map(({ host }) => host);
const hostsOf = ({ ranks }: EnginePlan): string[] => hosts(ranks);
const unique = (all: readonly string[]): string[] => [...new Set(all)].toSorted(byText);
