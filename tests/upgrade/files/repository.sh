#!/usr/bin/env bash
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# repository.sh WHEEL DIRECTORY: makes a package repository with the Swift of Debian's next release,
# for hosts of this one. Debian 13 lacks one thing that it needs, python3-anycrc: that is made a
# package from the wheel on PyPI. Prints the version. Leaves the host's own package lists alone.
set -euo pipefail
wheel=$1 directory=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/anycrc/DEBIAN" "$work/anycrc/usr/lib/python3/dist-packages" "$directory"
chmod 755 "$work"
# The host's own archive, with the next release's name.
sed -n 's/ trixie main/ testing main/p' /etc/apt/sources.list >"$work/testing.list"
settings=(-o "Dir::Etc::sourcelist=$work/testing.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
    # An archive's copy may be weeks old; only this test asks it.
    -o Acquire::Check-Valid-Until=false)
apt-get "${settings[@]}" update -qq
cd "$directory"
rm -f ./*.deb
apt-get "${settings[@]}" download -qq python3-swift swift swift-proxy swift-account swift-container swift-object swift-object-expirer

python3 -m zipfile -e "$wheel" "$work/anycrc/usr/lib/python3/dist-packages"
cat >"$work/anycrc/DEBIAN/control" <<CONTROL
Package: python3-anycrc
Version: $(basename "$wheel" | cut -d - -f 2)~wheel
Architecture: $(dpkg --print-architecture)
Depends: python3
Maintainer: The infn.cloud contributors <root@localhost>
Description: checksums for the Swift of Debian's next release
CONTROL
dpkg-deb --root-owner-group --build "$work/anycrc" . >/dev/null

for package in *.deb; do
    dpkg-deb --field "$package"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat -c %s "$package")" \
        "$(sha256sum "$package" | cut -d ' ' -f 1)"
done >Packages
dpkg-deb --field python3-swift_*.deb Version
