#!/bin/sh
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Where the shipper begins to read the journal: the file says how far it had come. Killed, it had lines in hand, sent and not
# acknowledged, or read since it last wrote down where it was (84 at most), or had skipped some at the beginning of a new file
# (log-shipper-rotated.path): those are read again, and the store has each line once. The first time it begins with what is
# written from now on.
#   log-shipper-begin FILE
set -eu
if [ -s "$1" ]; then
    set -- "$1" --cursor="$(cat "$1")" --reverse --lines=2000
else
    set -- "$1" --lines=1
fi
file=$1
shift
cursor=$(journalctl --quiet "$@" --output=cat --output-fields=_BOOT_ID --show-cursor | sed -n 's/^-- cursor: //p')
[ -n "$cursor" ] || exit 0
printf %s "$cursor" >"$file.new"
mv "$file.new" "$file"
