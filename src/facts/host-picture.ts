/** The kinds of things that Tandem can leave on a host. */
export const THINGS = ['container', 'job', 'process', 'file', 'port', 'mount', 'lease', 'router-entry'] as const;

export type Thing = (typeof THINGS)[number];

/** Whose things a picture shows, and where they can be. */
export interface PictureScope {
  readonly cluster: string;
  /** What carries the label (or lease) of another installation is left out, with its folders: strangers are named elsewhere. */
  readonly installation: string;
  /** Whether containers may be there; Docker is asked only then. */
  readonly docker: boolean;
  /** Ports that the cluster's engines and router listen on at this host. */
  readonly ports: readonly number[];
  /** Folder of the model's complete weights on this host, and the images the cluster runs: named as `kept`. */
  readonly modelPath: string;
  readonly images: readonly string[];
}

/** Everything of one cluster on one host, in a stable order: two pictures are equal when nothing changed in between. */
export interface HostPicture {
  readonly host: string;
  /** Rows as people read them, sorted, by kind; a kind without rows is left out. */
  readonly things: Readonly<Partial<Record<Thing, readonly string[]>>>;
  /** What undo and destroy leave as a cache. */
  readonly kept: readonly Kept[];
}

export interface Kept {
  readonly kind: 'image' | 'weights';
  readonly what: string;
  readonly bytes: number;
}

/** One thing in which two pictures of a host differ. */
export interface Difference {
  readonly host: string;
  readonly kind: Thing;
  readonly what: string;
  /** `left`: there now, and not before; `gone`: there before, and not now. */
  readonly change: 'left' | 'gone';
}
