"""Runs a command of the tests, and in the end names and ends what it left: processes, the ports on which they listen,
folders, mounts, labs. Whatever it was that ended the command: success, a failed test, a signal, Ctrl-C.

    python3 test/support/guard.py [--counts] COMMAND…

The command gets a folder of its own as TMPDIR. Every process that loses its parent becomes a child of this one (Linux:
a "child subreaper", which is why this is Python), so none is missed whatever its environment and session are, and
none that somebody else started is ever looked at.

Exit code: the command's; 1 where something was left; 128 and the signal where it was interrupted. With --counts the last line
is "N passed, N failed, N skipped", of numbers that the command leaves in its folder (summary-reporter.mjs).
"""

import ctypes
import glob
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_CHILD_SUBREAPER = 36
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
# What ends a while after the command is not left: an ssh client whose master has gone, a program that was told to end.
SETTLE_SECONDS = float(os.environ.get("TANDEM_GUARD_SETTLE", 30))
# For a program that was told to end: a Temporal worker finishes what it does.
END_SECONDS = 5
BEGAN = time.monotonic()
INTERRUPTS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
LAB = "tandem-lab-"
RUNNER = "tandem-" + "[0-9a-f]" * 16
# The folder's own: numbers for the last line, which suite has which folder in it, labs that were begun, sockets of ssh.
SUMMARY = "summary.json"
NO_NUMBERS = '{"passed": 0, "failed": 0, "skipped": 0, "titles": []}'
SUITES = "suites"
LABS = "labs"
SOCKETS = "r"


def main(command, counts):
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("guard: this kernel hands no orphans over (prctl): Linux 3.4 or later is needed")
    base = tempfile.gettempdir()
    # Sockets lie in it, whose path may have 107 bytes.
    folder = tempfile.mkdtemp(prefix="tt-", dir=base if len(base) <= 24 else "/tmp")
    signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS | {signal.SIGCHLD})
    child = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": folder, "TANDEM_TEST_RUN": folder, "TANDEM_RUNTIME_DIR": f"{folder}/{SOCKETS}"},
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, set()),
    )
    code, interrupt = wait_for(child)
    if interrupt is None:
        within(SETTLE_SECONDS, lambda: not descendants())
    running = descendants()
    left = [told(pid) for pid in running]
    end_all()
    left += clear_runners({str(pid) for pid in running})
    left += sweep_labs(folder)
    numbers = json.loads(read(f"{folder}/{SUMMARY}") or NO_NUMBERS) if counts else None
    left += clear(folder)
    sys.exit(report(code, interrupt, left, numbers))


def wait_for(child):
    """Its exit code, and the signal that interrupted it."""
    interrupt = None
    until = None
    while child.poll() is None:
        wait = 3600 if until is None else max(until - time.monotonic(), 0)
        got = signal.sigtimedwait(INTERRUPTS | {signal.SIGCHLD}, wait)
        if got is None:
            if until is not None:
                child.kill()  # It was told to end, and its time is over.
                child.wait()
        elif got.si_signo == signal.SIGCHLD:
            reap(child.pid)
        else:
            # From a terminal it has the signal too; from elsewhere it has not.
            child.send_signal(got.si_signo)
            if interrupt is None:
                interrupt = got.si_signo
                until = time.monotonic() + END_SECONDS
                say(f"interrupted by {signal.Signals(interrupt).name}: ending what the tests started")
    code = child.returncode
    return (128 - code if code < 0 else code), interrupt


def reap(own):
    """Takes the exit codes of orphans that have ended; that of the command itself is Popen's to take."""
    for pid in zombies():
        if pid != own:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


# ---- Processes


def stats():
    """(pid, parent, state) of every process."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        text = read(f"/proc/{name}/stat")
        if text:
            state, parent = text.rpartition(")")[2].split()[:2]
            yield int(name), int(parent), state


def zombies():
    return [pid for pid, parent, state in stats() if parent == os.getpid() and state == "Z"]


def descendants():
    """Pids of what this process and its children started and that still runs, parents first."""
    reap(0)
    children = {}
    for pid, parent, state in stats():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found, ask = [], [os.getpid()]
    while ask:
        for pid in children.get(ask.pop(0), []):
            found.append(pid)
            ask.append(pid)
    return found


def end_all():
    """Ends every process below this one: politely first, so that it clears up; then in rounds, since some make others."""
    for how, seconds in ((signal.SIGTERM, END_SECONDS), *[(signal.SIGKILL, 1)] * 30):
        pids = descendants()
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        within(seconds, lambda: not descendants())
    say("guard: these do not end: " + "; ".join(told(pid) for pid in descendants()))


def told(pid):
    """A process in one line: what it is, where, of which suite, and on what it listens."""
    line = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or read(f"/proc/{pid}/comm").strip() or "(it has ended)"
    suite = next((word[18:] for word in read(f"/proc/{pid}/environ").split("\0") if word.startswith("TANDEM_TEST_SUITE=")), "")
    try:
        where = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        where = "?"
    ports = listening(pid)
    return "".join(
        (
            f"process {pid} in {where}: {line if len(line) <= 300 else line[:300] + '…'}",
            f" (of {suite})" if suite else "",
            f", listens on {', '.join(ports)}" if ports else "",
        )
    )


def listening(pid):
    """Addresses and paths on which a process listens, in its own network."""
    inodes = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    except OSError:
        return []
    found = []
    for family in ("tcp", "tcp6"):
        for row in read(f"/proc/{pid}/net/{family}").splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and cells[9] in inodes:
                address, port = cells[1].split(":")
                shown = ".".join(str(byte) for byte in reversed(bytes.fromhex(address))) if family == "tcp" else f"[{address}]"
                found.append(f"{shown}:{int(port, 16)}")
    for row in read(f"/proc/{pid}/net/unix").splitlines()[1:]:
        cells = row.split()
        if cells[3] == "00010000" and cells[6] in inodes:
            found.append(cells[7] if len(cells) > 7 else "a socket without a name")
    return found


# ---- Folders, mounts, labs


def clear(folder):
    """Deletes the folder of the run, and names what was left in it."""
    left = []
    for path in sorted((row.split()[1] for row in read("/proc/self/mounts").splitlines()), key=len, reverse=True):
        if path.startswith(f"{folder}/"):
            left.append(f"mount {path}")
            subprocess.run(["umount", "-l", path], check=False)
    suites = dict(line.split(" ", 1) for line in read(f"{folder}/{SUITES}").splitlines())
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        within_it = sorted(os.listdir(path)) if os.path.isdir(path) else []
        # A Temporal worker that was killed leaves a folder of sockets to the next one; an ssh that still runs is told of.
        if name in (SUMMARY, SUITES, LABS, SOCKETS):
            continue
        what = "folder" if os.path.isdir(path) else "file"
        of = f" of {suites[name]}" if name in suites else ""
        left.append(f"{what} {path}{of}" + (f" with {', '.join(within_it[:10])}" if within_it else ""))
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.exists(folder):
        left.append(f"folder {folder}, which cannot be deleted")
    return left


def clear_runners(groups):
    """Deletes what runners of commands (src/drivers/ssh/runner.ts) left that were killed with the groups that they ran."""
    left = []
    for folder in glob.glob(f"/dev/shm/{RUNNER}") + glob.glob(f"/tmp/{RUNNER}"):
        if any(read(file).split(" ")[0] in groups for file in glob.glob(f"{folder}/p.*")):
            left.append(f"folder {folder}")
            shutil.rmtree(folder, ignore_errors=True)
    return left


def sweep_labs(folder):
    """Takes down the labs that this run has begun and not ended, and names what there was of them."""
    names = [name for name in set(read(f"{folder}/{LABS}").split()) if glob.glob(f"/run/{LAB}{name}*") or glob.glob(f"/run/netns/{LAB}{name}-*")]
    if not names:
        return []
    sweep = ["node", "--no-warnings", "--import", "./test/support/ts-loader.mjs", "test/lab/main.ts", "sweep", *names]
    done = subprocess.run(sweep, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return [f"of a lab: {line}" for line in done.stdout.splitlines() if line]


# ---- The rest


def report(code, interrupt, left, numbers):
    """Says what there is to say, the numbers last; the exit code."""
    if interrupt is not None:
        # That it had much is as it should be; that nothing stays is what counts.
        say(f"ended {len(left)} processes and folders of the tests")
        left = [told(pid) for pid in descendants()]
    for line in left:
        say(f"left: {line}")
    if not left:
        say("nothing is left of the tests: no process, no port, no folder")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(f"took {time.monotonic() - BEGAN:.0f} s, of the CPU {used.ru_utime + used.ru_stime:.0f} s")
    if interrupt is not None:
        code = 128 + interrupt
    elif left and code == 0:
        code = 1
    if numbers is not None:
        for title in numbers["titles"]:
            say(f"skipped: {title}")
        # What no test tells is a failure too: what is left, a run that was cut off, a fault of Jest's own.
        failed = numbers["failed"] + (1 if left or interrupt is not None else 0)
        if code != 0 and failed == 0:
            say(f"the command ended with exit code {code}")
            failed = 1
        say(f"{numbers['passed']} passed, {failed} failed, {numbers['skipped']} skipped")
    return code


def within(seconds, condition):
    """Waits until it holds, no longer than that."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def read(path):
    try:
        with open(path, encoding="utf8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def say(line):
    try:
        print(line, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf8")  # Whoever read it has gone: all is ended nevertheless.


if __name__ == "__main__":
    words = sys.argv[1:]
    counts = words[:1] == ["--counts"]
    if len(words) < (2 if counts else 1):
        sys.exit("usage: guard.py [--counts] COMMAND…")
    main(words[1:] if counts else words, counts)
