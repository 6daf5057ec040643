# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command and kill it, with all its children, in the middle of an Ansible task.

  interrupted_run.py TASK HOSTS COMMAND...

HOSTS hosts have done the task by then. Fails if the command ends before.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

task, hosts, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
done, inside = 0, False
with subprocess.Popen(
    command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
) as run:
    for line in run.stdout or ():
        print(line, end="", flush=True)
        if line.startswith("TASK ["):
            inside = task in line
        done += inside and line.startswith("changed:")
        if done == hosts:
            os.killpg(run.pid, signal.SIGKILL)
            break
if done < hosts:
    sys.exit(f"the run ended before {hosts} hosts had done '{task}'")
