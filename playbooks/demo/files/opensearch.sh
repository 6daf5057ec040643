#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A package of OpenSearch for the demo, of what its makers publish on Maven Central: the server without its optional modules,
# and the security plugin. Laid out as the vendor's own package, which comes with a Java of its own and is ten times as large.
#   opensearch.sh FILE [PODMAN ARGUMENTS…]    builds it into FILE, a .deb
# Needs maven, and where few files may be open, gcc. On a machine without them it is made in a host that is thrown away, which
# `PODMAN run ARGUMENTS…` makes.
set -euo pipefail
output=$1 version=2.19.4
shift
files=$(ulimit -Hn)
[ "$files" != unlimited ] || files=1048576
there() { command -v "$1" >/dev/null; }
if [ $# -gt 0 ] && ! { there mvn && { [ "$files" -ge 65535 ] || there gcc; }; }; then
    podman=$1
    shift
    exec "$podman" run --rm --volume "$(realpath "$0"):/opensearch.sh:ro" --volume "$(dirname "$output"):/out" "$@" sh -ec "
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends maven gcc libc6-dev >/dev/null
        bash /opensearch.sh /out/$(basename "$output")"
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/opensearch.XXXXXX")
trap 'rm -rf "$work"' EXIT
tree=$work/tree home=$work/tree/usr/share/opensearch

fetch() { # GROUP:ARTIFACT:VERSION DIRECTORY
    mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:3.6.0:copy \
        -Dartifact="$1:zip" -DoutputDirectory="$work/zips" -Dmdep.overWriteReleases=true >&2
    name=${1#*:}
    python3 -m zipfile --extract "$work/zips/${name/:/-}.zip" "$2"
}

mkdir -p "$tree/usr/share" "$tree/etc" "$tree/usr/lib/systemd/system" "$tree/DEBIAN"
fetch "org.opensearch.distribution.integ-test-zip:opensearch:$version" "$work"
mv "$work/opensearch-$version" "$home"
fetch "org.opensearch.plugin:opensearch-security:$version.0" "$home/plugins/opensearch-security"
mv "$home/config" "$tree/etc/opensearch"
rm -rf "$home"/bin/*.bat "$home"/bin/*.exe "$home/lib/tools/upgrade-cli" "$home/logs" "$home/plugins/opensearch-security/config" \
    "$tree/etc/opensearch/opensearch.yml"
chmod -R u=rwX,go=rX "$tree/usr/share/opensearch" "$tree/etc/opensearch"
chmod 755 "$home"/bin/*

# The server refuses to start where it may not have 65535 files open, and a host of a container machine whose root has no
# CAP_SYS_RESOURCE cannot be given them. The demo needs some hundred: there, and only there, the limit is said to be higher.
preload=
if [ "$files" -lt 65535 ]; then
    mkdir -p "$tree/usr/lib/opensearch"
    preload=LD_PRELOAD=/usr/lib/opensearch/limits.so
    gcc -shared -fPIC -O2 -o "$tree/usr/lib/opensearch/limits.so" -x c - <<'C'
#define _GNU_SOURCE
#include <sys/resource.h>
int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
    int result = prlimit(0, resource, 0, limit);
    if (result == 0 && resource == RLIMIT_NOFILE && limit->rlim_cur < 65535)
        limit->rlim_cur = limit->rlim_max = 65535;
    return result;
}
C
fi

cat >"$tree/usr/lib/systemd/system/opensearch.service" <<UNIT
[Unit]
Description=OpenSearch
Wants=network-online.target
After=network-online.target

[Service]
User=opensearch
Group=opensearch
WorkingDirectory=/usr/share/opensearch
RuntimeDirectory=opensearch
Environment=OPENSEARCH_HOME=/usr/share/opensearch OPENSEARCH_PATH_CONF=/etc/opensearch OPENSEARCH_TMPDIR=/run/opensearch
Environment=OPENSEARCH_JAVA_HOME=/usr/lib/jvm/java-21-openjdk-amd64 $preload
ExecStart=/usr/share/opensearch/bin/opensearch
SuccessExitStatus=143
TimeoutStopSec=60

[Install]
WantedBy=multi-user.target
UNIT
sed -i -e 's|=data$|=/var/lib/opensearch|' -e 's|logs/|/var/log/opensearch/|g' "$tree/etc/opensearch/jvm.options"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: opensearch
Version: $version
Architecture: amd64
Maintainer: The infn.cloud contributors <root@localhost>
Depends: openjdk-21-jre-headless, passwd
Description: OpenSearch with its security plugin, assembled for a test bed
CONTROL
cat >"$tree/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
getent passwd opensearch >/dev/null ||
    useradd --system --home-dir /var/lib/opensearch --shell /usr/sbin/nologin --comment OpenSearch opensearch
install -d -o opensearch -g opensearch -m 0750 /var/lib/opensearch /var/log/opensearch
chown root:opensearch /etc/opensearch && chmod 2770 /etc/opensearch
systemctl daemon-reload 2>/dev/null || true
POSTINST
chmod 755 "$tree/DEBIAN/postinst"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$output.part" >/dev/null
mv "$output.part" "$output"
