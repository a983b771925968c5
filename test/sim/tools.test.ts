import { describe, expect, it } from '@jest/globals';
import { machineOf, type GpuUse } from '../../src/sim/machine.ts';
import { machineFiles } from '../../src/sim/machine-files.ts';
import { Scenario, type ScenarioInput } from '../../src/sim/scenario.ts';
import { ps, ss, sudo } from '../../src/sim/tools/acting.ts';
import { TOOLS } from '../../src/sim/tools/index.ts';

type HostInput = ScenarioInput['hosts'][number];
const machine = (host: Partial<HostInput> = {}, uses: readonly GpuUse[] = []) =>
  machineOf(Scenario.parse({ hosts: [{ name: 'h', address: '127.82.90.1', ...host }] }).hosts[0]!, 0, 'boot', uses);
const run = (tool: string, args: readonly string[], host?: Partial<HostInput>, uses?: readonly GpuUse[]) =>
  TOOLS[tool]!(machine(host, uses), args);

describe('a simulated tool refuses, as the real one,', () => {
  it.each([
    ['amd-smi', ['static', '--nosuch'], 254, "Parameter '--nosuch' is invalid"],
    ['amd-smi', ['statics'], 255, "Command 'statics' is invalid"],
    ['amd-smi', ['static', '-g', '9'], 255, "GPU '9'"],
    ['rocm-smi', ['--shownosuch'], 2, 'unrecognized arguments: --shownosuch'],
    ['ibv_devinfo', ['-z'], 255, "invalid option -- 'z'"],
    ['ibstat', ['nope'], 255, "'nope' IB device can't be found"],
    ['rdma', ['-z', 'link'], 255, 'Option "-z" is unknown'],
    ['id', ['--nosuch'], 1, "unrecognized option '--nosuch'"],
    ['dmesg', ['-Z'], 1, "invalid option -- 'Z'"],
    ['sysctl', ['kernel.nosuch'], 255, 'cannot stat /proc/sys/kernel/nosuch'],
    ['getent', ['group', 'nosuch'], 2, ''],
  ])('%s %j', (tool, args, exitCode, stderr) => {
    const result = run(tool, args);
    expect([result.exitCode, result.stdout]).toEqual([exitCode, '']);
    expect(result.stderr).toContain(stderr);
  });

  it.each(['amd-smi', 'rocm-smi', 'rocminfo'])('%s on a host whose driver is not loaded', (tool) => {
    const { exitCode, stdout } = run(tool, tool === 'amd-smi' ? ['list'] : [], { driver: 'absent' });
    expect([exitCode === 0, stdout]).toEqual([false, '']);
  });

  it('amd-smi on a host whose GPUs are busy, with a traceback', () => {
    expect(run('amd-smi', ['static', '--json'], { amdSmi: 'busy' }).stderr).toContain('AMDSMI_STATUS_BUSY');
  });
});

describe('amd-smi', () => {
  it('prints a bare list up to ROCm 6 and {"gpu_data"} from 7 on', () => {
    expect(JSON.parse(run('amd-smi', ['static', '--json'], { rocm: '6.2.4' }).stdout)).toHaveLength(8);
    expect(JSON.parse(run('amd-smi', ['static', '--json']).stdout)).toMatchObject({ gpu_data: { length: 8 } });
  });

  it('prints text in its own indentation', () => {
    const { stdout } = run('amd-smi', ['static', '--vram', '-g', '1'], { gpus: { product: 'MI355X' } });
    expect(stdout).toBe(
      'GPU: 1\n    VRAM:\n        TYPE: HBM\n        VENDOR: HYNIX\n        SIZE: 294896 MB\n        BIT_WIDTH: 8192\n\n',
    );
  });

  it('shows who holds a GPU, and how much', () => {
    const use = { pid: 5, name: 'sglang::scheduler', gpus: [2], usedMiB: 1000 };
    const rows = JSON.parse(run('amd-smi', ['metric', '-m', '--json'], {}, [use]).stdout) as {
      gpu_data: { mem_usage: { used_vram: { value: number } } }[];
    };
    expect(rows.gpu_data.map(({ mem_usage }) => mem_usage.used_vram.value)).toEqual([
      283, 283, 1283, 283, 283, 283, 283, 283,
    ]);
  });
});

describe('files of the machine', () => {
  it('say the same as the tools when a port is down', () => {
    const nics = [{ device: 'mlx5_0', driver: 'mlx5' as const, state: 'DOWN' as const }];
    const files = machineFiles(machine({ nics }));
    const port = [...files].find(([path]) => path.endsWith('mlx5_0/ports/1/state'));
    expect(port?.[1]).toBe('1: DOWN\n');
    expect(run('ibv_devinfo', ['-d', 'mlx5_0'], { nics }).stdout).toContain('PORT_DOWN (1)');
    expect(run('rdma', ['-j', 'link'], { nics }).stdout).toContain('"state":"DOWN"');
    expect(run('ibstat', ['mlx5_0'], { nics }).stdout).toContain('State: Down');
  });

  it('have no GPU device where the driver is not loaded', () => {
    const paths = [...machineFiles(machine({ driver: 'absent' })).keys()];
    expect(paths.filter((path) => /kfd|drm|amdgpu/.test(path))).toEqual([]);
  });

  it('give every host of a scenario its own addresses', () => {
    const of = (index: number) => machineOf(machine().scenario, index, 'boot', []).nics.map(({ address }) => address);
    expect(new Set([...of(0), ...of(1), ...of(300)]).size).toBe(24);
  });
});

describe('tools that look at what runs', () => {
  const print = () => {
    const out = { stdout: '', stderr: '' };
    return {
      out,
      stdout: (text: string) => void (out.stdout += text),
      stderr: (text: string) => void (out.stderr += text),
    };
  };

  it('show processes of the host only, however they are asked for', () => {
    expect(ps(['-e', '-o', 'pid='], [7, 8], '/bin/ps', print())).toEqual({
      run: ['/bin/ps', '-o', 'pid=', '-p', '7,8'],
    });
    expect(ps(['aux'], [7], '/bin/ps', print())).toEqual({ run: ['/bin/ps', 'u', '-p', '7'] });
    expect(ps(['-p', '1,7'], [7], '/bin/ps', print())).toEqual({ run: ['/bin/ps', '-p', '7'] });
    expect(ps(['-p1'], [7], '/bin/ps', print())).toEqual({ run: ['/bin/ps', '-p', '0'] });
  });

  it('show the sockets of one port', () => {
    const { out, ...to } = print();
    ss(
      ['-Hltn', 'sport = :2'],
      [
        { address: '127.0.0.9', port: 1 },
        { address: '127.0.0.9', port: 2 },
      ],
      to,
    );
    expect(out.stdout).toMatch(/^LISTEN .* 127\.0\.0\.9:2 .*\n$/);
  });

  it('run nothing where sudo refuses', () => {
    const { scenario } = machine({ sudo: 'refused' });
    expect(sudo(['-n', 'true'], '', scenario, print())).toBe(1);
    expect(sudo(['-S', '-p', '', 'true'], 'anything', scenario, print())).toBe(1);
  });
});
