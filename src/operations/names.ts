/** Names by which workflows, activities and clients find each other. */

export const WORKFLOW_QUEUE = 'tandem';

export const activityQueue = (site: string): string => `tandem-${site}`;
/** Reads and the question who is there have a queue of their own: a busy site answers them too. */
export const readQueue = (site: string): string => `tandem-${site}-reads`;

export const clusterWorkflowId = (cluster: string): string => `cluster/${cluster}`;
