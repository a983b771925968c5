/** The amdgpu driver: a release of AMD's own package, which `rocm.driver` is about, or the one inside the kernel. */
export type Driver =
  | { readonly kind: 'release'; readonly version: string }
  | { readonly kind: 'in-tree'; readonly kernel: string };

/**
 * What tools print as the driver's version: "6.12.12" is a release; "6.9.0-rc5+", "6.14.0-24-generic" and the banner
 * "Linux version 6.14.0-24-generic (…" are the kernel's version, printed where there is no release. Undefined when
 * it is neither.
 */
export function driverOf(text: string | undefined): Driver | undefined {
  if (text === undefined) return undefined;
  const banner = /^linux\s*version\s*(\d+\.\d+[\w.+-]*)/i.exec(text.trim());
  if (banner) return { kind: 'in-tree', kernel: banner[1]! };
  const version = /^(?:amdgpu\s+)?(\d+(?:\.\d+)+)(\S*)$/i.exec(text.trim());
  if (!version) return undefined;
  return version[2] === ''
    ? { kind: 'release', version: version[1]! }
    : { kind: 'in-tree', kernel: `${version[1]!}${version[2]!}` };
}
