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
  const version = text.trim().replace(/^amdgpu\s+/i, '');
  if (/^\d+(?:\.\d+)+$/.test(version)) return { kind: 'release', version };
  return /^\d+\.\d\S*$/.test(version) ? { kind: 'in-tree', kernel: version } : undefined;
}
