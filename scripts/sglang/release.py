"""Learns releases of SGLang: `python3 scripts/sglang/release.py VERSION|WHEEL …`, as in 0.5.24, and needs pip for versions.

Writes what their wheels say: the flags, by which specs are judged, to src/spec/flags/sglang.json (the oldest in full,
then what each changes), and the pages, against which the simulated engine is held, to test/golden/engine/wheels.json.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

from wheel import Wheel, flags_of, pages_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = ROOT / "src/spec/flags/sglang.json"
PAGES = ROOT / "test/golden/engine/wheels.json"
SOURCE = (
    "The source of the PyPI package, read by scripts/sglang/release.py. takes: what the parser makes of the value; nargs: "
    "argparse's count for one occurrence (1: repeat the flag); aliases have the same effect; suffixes: the integer may be "
    "written 32k or 1Ki. A version has what the one before it has, but for its own flags and those that are gone."
)
# The engines are of Python 3.11, whatever this one is.
DOWNLOAD = (
    "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version 3.11 "
    "--platform manylinux_2_34_x86_64"
).split()


def age(version):
    release, _, post = version.partition(".post")
    return [int(part) for part in release.split(".")] + [int(post or 0)]


def learn(told, folder):
    """Version, flags and pages of a wheel, downloaded unless it is a file."""
    path = pathlib.Path(told)
    if path.suffix != ".whl":
        into = folder / told
        subprocess.run([sys.executable, *DOWNLOAD, "--dest", into, f"sglang=={told}"], check=True)
        [path] = into.iterdir()
    version = re.match(r"sglang-([^-]+)-", path.name)[1]
    unpacked = folder / f"{version}-unpacked"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(unpacked, [name for name in archive.namelist() if name.endswith(".py")])
    wheel = Wheel(unpacked)
    return version, flags_of(wheel), pages_of(wheel)


def expanded():
    """The flags of every version that is known, in full."""
    known, flags = {}, {}
    for step in json.loads(FLAGS.read_text())["versions"] if FLAGS.exists() else []:
        flags = {name: row for name, row in flags.items() if name not in step.get("gone", [])} | step["flags"]
        known[step["version"]] = flags
    return known


def steps(known):
    before = {}
    for version in sorted(known, key=age):
        flags = dict(sorted(known[version].items()))
        step = {"version": version, "flags": {name: row for name, row in flags.items() if before.get(name) != row}}
        gone = sorted(before.keys() - flags.keys())
        yield step | ({"gone": gone} if gone else {})
        before = flags


def text_of(data):
    """JSON with one flag, or one other thing, a line."""
    line = lambda value: json.dumps(value, ensure_ascii=False)
    rows = []
    for step in data:
        flags = ",\n".join(f"        {line(name)}: {line(row)}" for name, row in step["flags"].items())
        gone = f',\n      "gone": {line(step["gone"])}' if "gone" in step else ""
        inner = f"{{\n{flags}\n      }}" if flags else "{}"
        rows.append(f'    {{\n      "version": {line(step["version"])},\n      "flags": {inner}{gone}\n    }}')
    versions = ",\n".join(rows)
    return f'{{\n  "package": "sglang",\n  "source": {line(SOURCE)},\n  "versions": [\n{versions}\n  ]\n}}\n'


known = expanded()
pages = json.loads(PAGES.read_text()) if PAGES.exists() else {}
with tempfile.TemporaryDirectory() as temporary:
    for told in sys.argv[1:] or sys.exit(__doc__):
        version, known[version], pages[version] = learn(told, pathlib.Path(temporary))
        print(f"{version}: {len(known[version])} flags")
FLAGS.write_text(text_of(steps(known)))
PAGES.write_text(json.dumps({version: pages[version] for version in sorted(pages, key=age)}, indent=1) + "\n")
