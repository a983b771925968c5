import { fileURLToPath } from 'node:url';

/** A file of this package. The built CLI is one file in this folder: no other module of it knows where it is. */
export const packaged = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
