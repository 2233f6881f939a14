#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""terminal.py ANSWER HOOK COMMAND...: run COMMAND with a terminal of its own, where somebody types
ANSWER each time a PIN is asked for, after the shell command HOOK has run. Standard input is not
the terminal. Prints what the terminal showed, and how often was asked; ends with COMMAND's status."""
import os
import pty
import subprocess
import sys

answer, hook, command = sys.argv[1], sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.execvp(command[0], command)
seen, asked = b"", 0
while True:
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    while seen.count(b"PIN for token") > asked:
        asked += 1
        subprocess.run(["sh", "-c", hook], check=True)
        os.write(fd, answer.encode() + b"\n")
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
sys.stdout.write(seen.decode(errors="replace").replace("\r", ""))
print("asked:", asked)
sys.exit(status if status >= 0 else 128)
