# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands on the demo's hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path


def shell(demo: Path, host: str, script: str, stdin: str = "") -> str:
    """Run a script of bash as root on a host of the demo whose directory is given; its output."""
    quoted = script.replace("'", "'\\''")
    done = subprocess.run(
        ["ssh", "-F", str(demo / "ssh_config"), host, f"sudo bash -c '{quoted}'"],
        input=stdin, stdout=subprocess.PIPE, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout
