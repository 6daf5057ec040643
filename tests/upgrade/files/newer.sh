#!/usr/bin/env bash
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# newer.sh DIRECTORY +newerNUMBER SOURCE...: offers this host newer versions of what it has of some source packages: the same
# files, packed again with +newerNUMBER after the version. An upgrade is the real thing then, with all that packages do in one,
# and any release's mirror will do.
set -euo pipefail
directory=$1 suffix=$2
shift 2
mkdir -p "$directory"
cd "$directory"
rm -rf ./*
wished=" $* "
dpkg-query --show --showformat '${db:Status-Status} ${source:Package} ${Package} ${Version}\n' |
    while read -r status source package version; do
        [[ $status = installed && $wished = *" $source "* ]] || continue
        # An earlier call's version comes from no archive.
        echo "$package=${version%+newer*}"
    done >packages
[ -s packages ] || exit 0
xargs apt-get -qq download <packages
for deb in *.deb; do
    version=$(dpkg-deb --field "$deb" Version)
    dpkg-deb --raw-extract "$deb" tree
    # Its own version, and that of those of the same source on which it depends.
    sed -i "s/^Version: .*/&$suffix/; s/(= ${version//./\\.})/(= $version$suffix)/g" tree/DEBIAN/control
    dpkg-deb --root-owner-group -Znone --build tree "new-$deb" >/dev/null
    rm -r tree "$deb"
done
for package in *.deb; do
    dpkg-deb --field "$package"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$package" "$(stat -c %s "$package")" \
        "$(sha256sum "$package" | cut -d ' ' -f 1)"
done >Packages
echo "deb [trusted=yes] file:$directory ./" >/etc/apt/sources.list.d/newer-services.list
