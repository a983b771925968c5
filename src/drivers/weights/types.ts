import type { Host } from '../types.ts';

/** The weights of a model on hosts: brought there, checked, kept as a cache. `openWeights` makes the real one. */
export interface Weights {
  /**
   * Brings the files of `source` to `path` on `host`, or checks that they are there. A repeat finds the copy that runs
   * or continues where it stopped; it never starts a second one. Errors: DISK_TOO_SMALL, SOURCE_UNREACHABLE,
   * SOURCE_REFUSED, WEIGHTS_CORRUPT, CHANGE_REFUSED (another commit is there), CHECK_FAILED (a tool is missing),
   * COMMAND_FAILED.
   */
  stage(host: Host, request: StageRequest, options: StageOptions): Promise<Staged>;
  /** Ends the copy of this deployment and keeps what it has brought so far, for a repeat. Not running is fine. */
  halt(host: Host, path: string, owner: CopyOwner): Promise<void>;
  /**
   * Undoes `stage`: ends the copy of this deployment and removes its partial files; without a number, those of every
   * deployment of the cluster. Complete weights stay.
   */
  drop(host: Host, path: string, owner: AnyCopyOwner): Promise<Dropped>;
  /**
   * "hf://ORG/NAME@main" → "hf://ORG/NAME@<commit>", so that all hosts get the same files; other sources as they are.
   * Errors: SOURCE_UNREACHABLE, SOURCE_REFUSED.
   */
  pin(source: string, access: SourceAccess, signal: AbortSignal): Promise<string>;
}

/** Whose copy it is; together with the host it names exactly one job. */
export interface CopyOwner {
  readonly cluster: string;
  readonly installation: string;
  readonly deployment: number;
}

export type AnyCopyOwner = Omit<CopyOwner, 'deployment'> & { readonly deployment?: number };

export interface SourceAccess {
  /** The token itself, not a reference. */
  readonly token?: string;
  /** Mirror of the Hugging Face Hub. */
  readonly endpoint?: string;
}

export interface StageRequest extends SourceAccess {
  readonly source: string;
  readonly path: string;
  /** False when the source is used where it is: then only its presence is checked. */
  readonly copy: boolean;
  readonly owner: CopyOwner;
}

export interface StageOptions {
  readonly signal: AbortSignal;
  /** Told of the bytes on the host so far, and of all. */
  readonly progress: (progress: { readonly host: string; readonly bytes: number; readonly totalBytes: number }) => void;
}

export interface Staged {
  readonly bytes: number;
  readonly files: number;
  /** True when nothing had to be copied. */
  readonly reused: boolean;
  /** The commit the files are of; hf:// only. */
  readonly revision?: string;
}

export interface Dropped {
  /** Complete weights that stay on the host as a cache. */
  readonly kept?: { readonly path: string; readonly bytes: number };
}

/** One file of a model, as its source lists it. */
export interface WeightFile {
  /** Relative, with slashes. */
  readonly path: string;
  /** Bytes; undefined when the source does not say. */
  readonly size?: number;
  /** What proves the content; undefined when only a comparison with the source does. */
  readonly hash?: FileHash;
}

export interface FileHash {
  /** git-sha1 is that of a git blob: of "blob <size>\0" and the content. */
  readonly algorithm: 'sha256' | 'git-sha1';
  /** Lower-case hex. */
  readonly value: string;
}
