#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# The root file system of a host of the demo.
#   image.sh tag                    prints a name for the image that this script would build
#   image.sh build FILE [MIRROR]    builds it into FILE, a tar archive
# A minimal Debian 13 with what any rented machine has: systemd, SSH, Python, a user with sudo.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "$1" = tag ]; then
    cd "$here"
    find image.sh host -type f | LC_ALL=C sort | xargs cat | sha256sum | cut -c 1-12
    exit
fi
output=$2 mirror=${3:-}
include=systemd,systemd-sysv,dbus,python3,python3-apt,openssh-server,iproute2,ca-certificates,sudo,procps
include=$include,iputils-ping,kmod
part=$output.part
trap 'rm -f "$part"' EXIT
# shellcheck disable=SC2016  # the hooks' $1 is the new root, known to mmdebstrap only
DEMO_FILES=$here/host mmdebstrap --quiet --format=tar --variant=minbase --include="$include" \
    --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='APT::Install-Recommends "false"' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
    --customize-hook='cp -R "$DEMO_FILES"/. "$1"/' \
    --customize-hook='chroot "$1" useradd --create-home --shell /bin/bash --groups sudo admin' \
    --customize-hook='echo "admin ALL=(ALL) NOPASSWD: ALL" >"$1"/etc/sudoers.d/admin' \
    --customize-hook='chroot "$1" systemctl --quiet enable demo-host.service ssh.service' \
    --customize-hook='chroot "$1" systemctl --quiet mask systemd-modules-load.service sys-kernel-debug.mount sys-kernel-tracing.mount systemd-udevd.service getty.target console-getty.service' \
    --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/machine-id; : >"$1"/etc/machine-id' \
    trixie "$part" ${mirror:+"$mirror"}
mv "$part" "$output"
