/**
 * The GPU products that Tandem knows. HBM is the nominal size of one GPU as the tools list it (an MI250 is two).
 * Sources: AMD's data sheets and "GPU hardware specifications" of the ROCm documentation for HBM and gfx targets; the
 * PCI ID repository (pci-ids.ucw.cz, vendor 1002) for device ids, the second one of a row being its virtual function.
 */
export interface Product {
  readonly name: string;
  readonly gfx: string;
  readonly hbmGiB: number;
  readonly deviceIds: readonly string[];
  readonly virtualIds: readonly string[];
  /** True when the product can be cut into partitions, so that SPX and NPS1 are a state and not a given. */
  readonly partitions: boolean;
}

const row = (
  name: string,
  gfx: string,
  hbmGiB: number,
  deviceIds: readonly string[],
  virtualIds: readonly string[],
  partitions: boolean,
): Product => ({ name, gfx, hbmGiB, deviceIds, virtualIds, partitions });

export const PRODUCTS: readonly Product[] = [
  row('MI100', 'gfx908', 32, ['738c'], [], false),
  row('MI210', 'gfx90a', 64, ['740f'], ['7410'], false),
  row('MI250', 'gfx90a', 64, ['740c'], [], false),
  row('MI250X', 'gfx90a', 64, ['7408'], [], false),
  row('MI300A', 'gfx942', 128, ['74a0'], [], true),
  row('MI300X', 'gfx942', 192, ['74a1', '74a9'], ['74b5', '74bd'], true),
  row('MI308X', 'gfx942', 192, ['74a2', '74a8'], ['74b6', '74bc'], true),
  row('MI325X', 'gfx942', 256, ['74a5'], ['74b9'], true),
  row('MI350X', 'gfx950', 288, ['75a0'], ['75b0'], true),
  row('MI355X', 'gfx950', 288, ['75a3'], ['75b3'], true),
];

/** The row of a product by its name as Tandem writes it; undefined when the table has none. */
export const productNamed = (name: string): Product | undefined => PRODUCTS.find((product) => product.name === name);

/** True when the id belongs to a virtual function, as in a virtual machine. */
export const isVirtualFunction = (deviceId: string | undefined): boolean =>
  deviceId !== undefined && PRODUCTS.some(({ virtualIds }) => virtualIds.includes(bareId(deviceId)));

/**
 * "AMD Instinct MI300X OAM", "MI300X-O", "Aqua Vanjaram [Instinct MI300A]" or device id 0x74a1 → "MI300X" and so on.
 * The device id wins where it is known: names of one chip differ between tools. Another GPU keeps its own name;
 * undefined when nothing names it.
 */
export function normaliseProduct(name: string | undefined, deviceId?: string): string | undefined {
  const byId = [deviceId, name].map((id) => productWithId(id)?.name).find((found) => found !== undefined);
  if (byId !== undefined) return byId;
  const instinct = /\bMI\s?(\d{2,3}[AX]?)\b/i.exec(name ?? '') ?? /MI(\d{3}[AX]?)/i.exec(name ?? '');
  if (instinct) return `MI${instinct[1]!.toUpperCase()}`;
  // A bare id as a name says only that the tool's own table is too old.
  return name === undefined || /^0x[0-9a-f]+$/i.test(name) ? undefined : name.trim();
}

function productWithId(id: string | undefined): Product | undefined {
  if (id === undefined || !/^(?:0x)?[0-9a-f]{4}$/i.test(id)) return undefined;
  const bare = bareId(id);
  return PRODUCTS.find(({ deviceIds, virtualIds }) => deviceIds.includes(bare) || virtualIds.includes(bare));
}

const bareId = (id: string): string => id.toLowerCase().replace(/^0x/, '');
