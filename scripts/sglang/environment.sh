#!/bin/sh
# Installs the frozen Python environment of the engines of one SGLang on CPU, once: `environment.sh VERSION` prints its
# folder. 0.5.23 takes 11 GB and some ten minutes, 0.5.10.post1 8 GB and five.
# TANDEM_SGLANG_ENVS names another folder for all of them than the cache's. The versions were resolved by hand: some declare
# others than those that work together, so the installer is told to resolve nothing.
set -eu
cd "$(dirname "$0")"
version=$1
requirements=requirements-$version.txt
[ -e "$requirements" ] || {
  echo "there is no environment for SGLang $version: $(ls requirements-*.txt | tr '\n' ' ')" >&2
  exit 2
}
folder=${TANDEM_SGLANG_ENVS:-${XDG_CACHE_HOME:-$HOME/.cache}/tandem}/sglang-$version
stamp=$folder/.complete
# What its packages load of this machine.
python3 - <<'CHECK' || exit 1
import ctypes, sys

PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libibverbs.so.1": "libibverbs1",
    "libnuma.so.1": "libnuma1",
    "librdmacm.so.1": "librdmacm1",
    "liburing.so.2": "liburing2",
}
missing = []
for library, package in PACKAGES.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        missing.append(package)
if missing:
    sys.exit(f"SGLang's environment needs libraries that are not installed (Debian: apt-get install {' '.join(missing)})")
CHECK
if [ "$(cksum <"$requirements")" != "$(cat "$stamp" 2>/dev/null)" ]; then
  python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "SGLang's environment is frozen for Python 3.11, found: $(python3 --version 2>&1)" >&2
    exit 1
  }
  rm -rf "$folder"
  mkdir -p "$(dirname "$folder")"
  free=$(df -Pk "$(dirname "$folder")" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge 15 ] || {
    echo "SGLang's environment needs 15 GB in $(dirname "$folder"), $free GB are free" >&2
    exit 1
  }
  echo "SGLang's environment goes to $folder: some ten minutes …" >&2
  python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps -r "$requirements" >&2
  cksum <"$requirements" >"$stamp"
fi
echo "$folder"
