"""Runs a command on a terminal of its own, as a person does: waits for texts, types answers, and tells how it ended.

terminal.py STEPS COMMAND…, with STEPS a JSON list of [regular expression to wait for, text to type]. Prints JSON with
the whole output and the exit code, negative for a signal.
"""

import json
import os
import pty
import re
import sys

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
output, seen = "", 0
while True:
    try:
        data = os.read(terminal, 4096)
    except OSError:  # The other side is closed.
        break
    if not data:
        break
    output += data.decode(errors="replace")
    while steps:
        found = re.compile(steps[0][0]).search(output, seen)
        if not found:
            break
        seen = found.end()
        os.write(terminal, steps.pop(0)[1].encode())
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps({"output": output, "exitCode": status, "missed": [text for text, _ in steps]}))
