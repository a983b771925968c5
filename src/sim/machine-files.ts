import { nodeGuid, type Machine, type NicView } from './machine.ts';

/** A file of the simulated machine: its content, or where a link points. */
export type MachineFile = string | { readonly link: string };

/**
 * What lies outside the home of a simulated host: path → file. Laid out as Linux does: entries of /sys/class are links
 * into /sys/devices, so a tool that does not follow links sees as little as on a real host.
 */
export function machineFiles(machine: Machine): ReadonlyMap<string, MachineFile> {
  const { scenario, gpus, nics, providerLibraries, bootId } = machine;
  const files = new Map<string, MachineFile>([
    ['/etc/hostname', `${scenario.name}\n`],
    ['/etc/hosts', `127.0.0.1 localhost\n${scenario.address} ${scenario.name}\n`],
    ['/etc/os-release', osRelease(scenario.os)],
    ['/proc/cmdline', `${scenario.cmdline}\n`],
    ['/proc/version', `Linux version ${scenario.kernel} (buildd@lcy02) #62-Ubuntu SMP PREEMPT_DYNAMIC\n`],
    ['/proc/self/limits', limits(scenario.memlock)],
    ['/proc/meminfo', meminfo(scenario.memoryGiB)],
    ['/proc/cpuinfo', cpuinfo()],
    ['/proc/sys/kernel/numa_balancing', `${scenario.numaBalancing}\n`],
    ['/proc/sys/kernel/random/boot_id', `${bootId}\n`],
    ['/proc/sys/kernel/hostname', `${scenario.name}\n`],
    ['/proc/sys/kernel/osrelease', `${scenario.kernel}\n`],
    ['/dev/null', ''],
  ]);
  if (scenario.rocm !== null) {
    files.set('/opt/rocm', { link: `rocm-${scenario.rocm}` });
    files.set(`/opt/rocm-${scenario.rocm}/.info/version`, `${scenario.rocm}-62\n`);
  }
  for (const library of providerLibraries) files.set(library, `simulated ${library}\n`);
  if (scenario.driver !== 'absent') {
    if (scenario.driver !== null) files.set('/sys/module/amdgpu/version', `${scenario.driver}\n`);
    files.set('/sys/module/amdgpu/initstate', 'live\n');
    if (gpus.length > 0) files.set('/dev/kfd', '');
    for (const gpu of gpus) {
      const device = `/sys/devices/pci0000:${gpu.pci.slice(5, 7)}/${gpu.pci}`;
      const card = `card${gpu.index + 1}`;
      files.set(`/sys/class/drm/${card}`, {
        link: `../../devices/pci0000:${gpu.pci.slice(5, 7)}/${gpu.pci}/drm/${card}`,
      });
      files.set(`${device}/drm/${card}/device`, { link: '../../../' + gpu.pci });
      files.set(`/dev/dri/${card}`, '');
      files.set(`/dev/dri/renderD${128 + gpu.index * 8}`, '');
      const values: Readonly<Record<string, string>> = {
        vendor: '0x1002',
        device: machine.product.deviceId,
        uevent: `DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_ID=1002:${machine.product.deviceId.slice(2).toUpperCase()}\nPCI_SLOT_NAME=${gpu.pci}`,
        numa_node: String(gpu.numaNode),
        unique_id: gpu.serial.slice(2).toLowerCase(),
        mem_info_vram_total: String(gpu.hbmMiB * 2 ** 20),
        mem_info_vram_used: String(gpu.usedMiB * 2 ** 20),
        current_compute_partition: scenario.gpus.computePartition,
        current_memory_partition: scenario.gpus.memoryPartition,
      };
      for (const [name, value] of Object.entries(values)) files.set(`${device}/${name}`, `${value}\n`);
    }
  }
  nics.forEach((nic, index) => addNic(files, nic, index));
  return files;
}

function addNic(files: Map<string, MachineFile>, nic: NicView, index: number): void {
  const bus = `pci0000:${nic.pci.slice(5, 7)}`;
  const device = `/sys/devices/${bus}/${nic.pci}`;
  const own = `${device}/infiniband/${nic.device}`;
  files.set(`/dev/infiniband/uverbs${index}`, '');
  files.set(`/sys/class/infiniband/${nic.device}`, {
    link: `../../devices/${bus}/${nic.pci}/infiniband/${nic.device}`,
  });
  files.set(`${own}/device`, { link: '../../../' + nic.pci });
  const [driver, vendor, part] = {
    bnxt_re: ['bnxt_en', '0x14e4', '0x1760'],
    mlx5: ['mlx5_core', '0x15b3', '0x1021'],
    ionic: ['ionic', '0x1dd8', '0x1002'],
  }[nic.driver] as [string, string, string];
  const port = `${own}/ports/1`;
  const values: Readonly<Record<string, string>> = {
    [`${own}/node_guid`]: nodeGuid(nic).replace(/(.{4})(?=.)/g, '$1:'),
    [`${own}/node_type`]: '1: CA',
    [`${device}/vendor`]: vendor,
    [`${device}/device`]: part,
    [`${device}/numa_node`]: String(nic.numaNode),
    [`${device}/uevent`]: `DRIVER=${driver}\nPCI_CLASS=20000\nPCI_SLOT_NAME=${nic.pci}`,
    [`${port}/state`]: { ACTIVE: '4: ACTIVE', DOWN: '1: DOWN', INIT: '2: INIT' }[nic.state],
    [`${port}/phys_state`]: nic.state === 'DOWN' ? '3: Disabled' : '5: LinkUp',
    [`${port}/rate`]: `${nic.rateGbps} Gb/sec (${lanes(nic.rateGbps)})`,
    [`${port}/link_layer`]: nic.linkLayer,
    [`${port}/gids/${nic.gids.length}`]: Array(8).fill('0000').join(':'),
  };
  for (const [path, value] of Object.entries(values)) files.set(path, `${value}\n`);
  for (const { index: at, gid, type } of nic.gids) {
    files.set(`${port}/gids/${at}`, `${gid}\n`);
    files.set(`${port}/gid_attrs/types/${at}`, `${type}\n`);
    if (nic.netdev !== undefined) files.set(`${port}/gid_attrs/ndevs/${at}`, `${nic.netdev}\n`);
  }
  if (nic.netdev !== undefined) files.set(`${device}/net/${nic.netdev}/mtu`, '9000\n');
}

const lanes = (gbps: number) => (gbps >= 400 ? '4X NDR' : gbps >= 200 ? '4X HDR' : gbps >= 100 ? '4X EDR' : '1X EDR');

const osRelease = (name: string) => {
  const [id = 'Linux', version = ''] = name.split(' ');
  return `PRETTY_NAME="${name}"\nNAME="${id}"\nVERSION_ID="${version.split('.').slice(0, 2).join('.')}"\nID=${id.toLowerCase()}\n`;
};

function limits(memlock: string): string {
  const row = (name: string, soft: string, hard: string, unit: string) =>
    `${name.padEnd(26)}${soft.padEnd(21)}${hard.padEnd(21)}${unit.padEnd(10)}\n`;
  return (
    row('Limit', 'Soft Limit', 'Hard Limit', 'Units') +
    row('Max cpu time', 'unlimited', 'unlimited', 'seconds') +
    row('Max processes', '8241230', '8241230', 'processes') +
    row('Max open files', '1048576', '1048576', 'files') +
    row('Max locked memory', memlock, memlock, 'bytes') +
    row('Max address space', 'unlimited', 'unlimited', 'bytes')
  );
}

const meminfo = (gib: number) =>
  [
    ['MemTotal', gib],
    ['MemFree', gib * 0.9],
    ['MemAvailable', gib * 0.95],
  ]
    .map(([name, value]) => `${`${name}:`.padEnd(15)} ${String(Math.round(Number(value) * 2 ** 20)).padStart(12)} kB\n`)
    .join('') + 'HugePages_Total:       0\nHugepagesize:       2048 kB\n';

const cpuinfo = () => 'processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654 96-Core Processor\n';
