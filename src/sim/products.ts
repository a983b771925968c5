/** What AMD's tools say about each product. Sizes are as `amd-smi` prints them: a little less than nominal. Sources: AMD's product pages and `amd-smi static` of ROCm 6 and 7. */
export interface Product {
  readonly marketName: string;
  readonly deviceId: string;
  /** "gfx942" */
  readonly target: string;
  readonly computeUnits: number;
  /** HBM in units of 2^20 bytes, which amd-smi calls MB. */
  readonly hbmMiB: number;
  readonly powerWatts: number;
}

const product = (
  marketName: string,
  deviceId: string,
  target: string,
  computeUnits: number,
  hbmMiB: number,
  powerWatts: number,
): Product => ({ marketName, deviceId, target, computeUnits, hbmMiB, powerWatts });

export const PRODUCTS: Readonly<Record<string, Product>> = {
  MI210: product('AMD Instinct MI210', '0x740f', 'gfx90a', 104, 65_520, 300),
  MI300A: product('AMD Instinct MI300A', '0x74a0', 'gfx942', 228, 131_056, 550),
  MI300X: product('AMD Instinct MI300X', '0x74a1', 'gfx942', 304, 196_592, 750),
  MI308X: product('AMD Instinct MI308X', '0x74a2', 'gfx942', 80, 196_592, 650),
  MI325X: product('AMD Instinct MI325X', '0x74a5', 'gfx942', 304, 262_128, 1000),
  MI350X: product('AMD Instinct MI350X', '0x75a0', 'gfx950', 256, 294_896, 1000),
  MI355X: product('AMD Instinct MI355X', '0x75a3', 'gfx950', 256, 294_896, 1400),
};
