import { join } from 'node:path';
import { execa, type Options } from 'execa';
import { inHost, needs, PROJECT, PROJECT_THERE, type Site } from './host.ts';

/** The engine image: the simulated engine as a program of this machine; its containers need these mounts of their host. */
export const ENGINE_IMAGE = 'tandem-lab/engine:v0.5.23-rocm720-mi30x';
export const ENGINE_MOUNTS = [
  { source: '/usr', target: '/host/usr', readOnly: true },
  { source: PROJECT_THERE, target: PROJECT_THERE, readOnly: true },
] as const;
/** Makes an image of links and one script: what it runs is mounted. */
const IMPORT_ENGINE = String.raw`
set -e
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/opt/engine" "$root/tmp" "$root/etc"
for each in bin sbin lib lib64; do [ ! -e "/usr/$each" ] || ln -s "host/usr/$each" "$root/$each"; done
cp /etc/passwd /etc/group "$root/etc/"
echo render:x:993: >>"$root/etc/group"
cat >"$root/opt/engine/python3" <<'SCRIPT'
#!/bin/sh
[ "$1 $2" = "-m sglang.launch_server" ] || { echo "no such program: $*" >&2; exit 127; }
shift 2
exec node /opt/tandem/dist/src/sim/engine/main.js "$@"
SCRIPT
chmod 755 "$root/opt/engine/python3"
tar -C "$root" -c . | docker import --change "ENV PATH=/opt/engine:/bin" - "$1" >/dev/null
`;

/** The router image: Python and the pinned wheel of smg with all that they need, and nothing else. */
export const ROUTER_IMAGE = 'tandem-lab/smg:1.13.0';
/** Packs the files of that image: the Python of the project, where to. */
const PACK_ROUTER = String.raw`
set -e
python=$1
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
set -- $("$python" -c 'import sys, sysconfig; print(sys.base_prefix, "python%d.%d" % sys.version_info[:2], sysconfig.get_path("purelib"))')
prefix=$1 program=$2 site=$3
mkdir -p "$root/opt/router" "$root/usr/local/bin" "$root/tmp" "$root$prefix"
(cd "$prefix" && tar -c --exclude=test --exclude=site-packages --exclude=dist-packages --exclude=__pycache__ \
  "bin/$program" "lib/$program" $(ls -d lib/libpython* 2>/dev/null)) | tar -C "$root$prefix" -x
(cd "$site" && tar -c --exclude=./pip* --exclude=./setuptools* --exclude=./temporal* .) | tar -C "$root/opt/router" -x
find "$root" -type f \( -name '*.so*' -o -name "$program" \) -exec ldd {} + 2>/dev/null |
  sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/lib[^ ]*\).*/\1/p' | sort -u | grep -v "^$root" |
  while read -r library; do [ -e "$root$library" ] || install -D "$library" "$root$library"; done
ln -s "$prefix/bin/$program" "$root/usr/local/bin/python3"
tar -C "$root" -c .
`;
const IMPORT_ROUTER = [
  'docker',
  'import',
  '--change',
  'ENV PATH=/usr/local/bin',
  '--change',
  'ENV PYTHONPATH=/opt/router',
  '-',
  ROUTER_IMAGE,
];

export type LabImage = 'engine' | 'router';

/** Puts images onto the hosts of a lab, the same onto each: it is made once. */
export class LabImages {
  readonly #site: Site;
  readonly #made = new Map<LabImage, Promise<string>>();

  constructor(site: Site) {
    this.#site = site;
  }

  async load(host: string, image: LabImage): Promise<void> {
    if (!this.#made.has(image)) this.#made.set(image, this.#make(host, image));
    const inputFile = await this.#made.get(image)!;
    await needs(inHost(this.#site, host, ['docker', 'load', '--quiet'], { inputFile }));
  }

  /** Makes it on a host, since only an image that was saved has the same id everywhere. */
  async #make(host: string, image: LabImage): Promise<string> {
    const file = (name: string) => join(this.#site.room, name);
    const at = (argv: readonly string[], options: Options = {}) => needs(inHost(this.#site, host, argv, options));
    /** Its output goes to a file and not through memory: an image is large. */
    const into = (path: string): Options => ({ stdout: { file: path }, buffer: { stdout: false } });
    if (image === 'engine') {
      await at(['sh', '-c', IMPORT_ENGINE, 'sh', ENGINE_IMAGE]);
    } else {
      const packed = file('router-files.tar');
      await execa('sh', ['-c', PACK_ROUTER, 'sh', join(PROJECT, '.venv/bin/python')], into(packed));
      await at(IMPORT_ROUTER, { inputFile: packed });
    }
    await at(['docker', 'save', image === 'engine' ? ENGINE_IMAGE : ROUTER_IMAGE], into(file(`${image}.tar`)));
    return file(`${image}.tar`);
  }
}
