/**
 * Colours the edges of a bipartite graph so that no two at one vertex are alike, with as many colours as the busiest
 * vertex has edges: no fewer can do. Edges are [source, target] by number; the answer is the edges of each colour, in
 * the order in which they were given.
 */
export function colourEdges(
  edges: readonly (readonly [source: number, target: number])[],
): readonly (readonly number[])[] {
  const sources = new Map<number, Map<number, number>>();
  const targets = new Map<number, Map<number, number>>();
  const colours: number[] = [];
  const at = (side: Map<number, Map<number, number>>, vertex: number): Map<number, number> => {
    const edgesByColour = side.get(vertex) ?? new Map<number, number>();
    side.set(vertex, edgesByColour);
    return edgesByColour;
  };
  edges.forEach(([source, target], edge) => {
    const colour = freeColour(at(sources, source));
    const other = freeColour(at(targets, target));
    // The alternating path that leaves the target by `colour` can never end at the source, since the graph is
    // bipartite: once its two colours are swapped, `colour` is free at both ends.
    const path: number[] = [];
    let side = targets;
    let vertex = target;
    for (let wanted = colour; ; wanted = wanted === colour ? other : colour) {
      const next = at(side, vertex).get(wanted);
      if (next === undefined) break;
      path.push(next);
      vertex = edges[next]![side === targets ? 0 : 1];
      side = side === targets ? sources : targets;
    }
    for (const step of path) {
      at(sources, edges[step]![0]).delete(colours[step]!);
      at(targets, edges[step]![1]).delete(colours[step]!);
    }
    for (const step of path) colours[step] = colours[step] === colour ? other : colour;
    colours[edge] = colour;
    for (const step of [...path, edge]) {
      at(sources, edges[step]![0]).set(colours[step]!, step);
      at(targets, edges[step]![1]).set(colours[step]!, step);
    }
  });
  const classes: number[][] = [];
  colours.forEach((colour, edge) => (classes[colour] ??= []).push(edge));
  return classes;
}

function freeColour(taken: ReadonlyMap<number, number>): number {
  let colour = 0;
  while (taken.has(colour)) colour += 1;
  return colour;
}
