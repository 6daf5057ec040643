# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change a byte in the middle of objects on this host's disks, as a disk that forgets would.

Reads JSON from standard input: the mount root, and targets with account, container, object,
partition and device. Prints one path per object. Runs as root on a storage host, which has Swift.
"""

from __future__ import annotations

import json
import os
import sys

from swift.common.utils import hash_path, set_swift_dir, storage_directory

set_swift_dir("/etc/swift")
question = json.load(sys.stdin)
for target in question["targets"]:
    name = hash_path(target["account"], target["container"], target["object"])
    place = storage_directory("objects", target["partition"], name)
    directory = os.path.join(question["root"], target["device"], place)
    (newest,) = sorted(entry for entry in os.listdir(directory) if entry.endswith(".data"))[-1:]
    path = os.path.join(directory, newest)
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
        file.flush()
        os.fsync(file.fileno())
    print(path)
