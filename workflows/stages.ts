/** Stages in which an operation only looks: what ends within them has touched nothing. */
const LOOKING: readonly string[] = ['read-spec', 'reach-worker', 'observe', 'plan', 'compare-router', 'picture'];

export const isTouching = (stage: string): boolean => stage !== '' && !LOOKING.includes(stage);

/** How long an activity may go on after Temporal has given it up, in seconds: until its heartbeat is refused. */
export const HEARTBEAT_SECONDS = 15;
