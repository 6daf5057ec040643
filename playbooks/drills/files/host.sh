#!/usr/bin/env bash
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The faults of the drills on one host, and their healing. Ansible gives it to bash on the host:
#
#   arm SECONDS ROOT          have the host heal itself after so long, should nobody else do it
#   cut PORT                  drop every packet but those of SSH
#   part in|out|both PORT ADDRESS...
#                             drop what comes from, or goes to, these addresses, SSH excepted
#   unmount ROOT DISK         take a disk away from under its users
#   readonly ROOT DISK        make a disk refuse to be written to
#   kill UNIT...              kill all processes of a unit at once, and have systemd not restart it
#   heal ROOT                 undo all of it; says what was done, and nothing if there was nothing
set -euo pipefail

table='inet infn_cloud_drill'
state=/run/infn-cloud-drill

filter() {
    nft -f - <<RULES
table $table
delete table $table
table $table {
    chain input {
        type filter hook input priority -20; policy accept;
        iif lo accept
        tcp dport $1 accept
        $2
    }
    chain output {
        type filter hook output priority -20; policy accept;
        oif lo accept
        tcp sport $1 accept
        $3
    }
}
RULES
}

arm() {
    mkdir -p "$state"
    {
        declare -p table state
        declare -f heal
        printf 'heal %q\n' "$2"
    } >"$state/heal"
    systemctl stop infn-cloud-drill.timer 2>/dev/null || true
    systemd-run --quiet --collect --unit infn-cloud-drill --on-active "$1" bash "$state/heal"
}

cut() { filter "$1" drop drop; }

part() {
    local direction=$1 port=$2 v4='' v6='' address in='' out=''
    shift 2
    for address in "$@"; do
        case $address in
        *:*) v6+="${v6:+, }$address" ;;
        *) v4+="${v4:+, }$address" ;;
        esac
    done
    [ -z "$v4" ] || in+="ip saddr { $v4 } drop; " out+="ip daddr { $v4 } drop; "
    [ -z "$v6" ] || in+="ip6 saddr { $v6 } drop; " out+="ip6 daddr { $v6 } drop; "
    [ "$direction" != in ] || out=''
    [ "$direction" != out ] || in=''
    filter "$port" "$in" "$out"
}

unmount() { umount --lazy "$1/$2"; }

# Over the disk lies the same one, not to be written to: a remount of the disk itself would wait for
# the last writer, and on a busy disk there is none.
readonly_disk() {
    mount -o bind,ro "$1/$2" "$1/$2"
}

kill_units() {
    local unit
    for unit in "$@"; do
        mkdir -p "/run/systemd/system/$unit.d"
        printf '[Service]\nRestart=no\n' >"/run/systemd/system/$unit.d/infn-cloud-drill.conf"
    done
    systemctl daemon-reload
    systemctl kill --signal KILL "$@"
}

heal() {
    local root=$1 dropin unit target options wrong=0
    # shellcheck disable=SC2086  # family and name are two words
    if nft list table $table >/dev/null 2>&1; then
        nft delete table $table
        echo 'removed the packet filter of a drill'
    fi
    while read -r target; do
        while [ "$(findmnt --noheadings --list --output TARGET | grep -cx "$target")" -gt 1 ]; do
            umount --lazy "$target"
            echo "made $target writable"
        done
        options=$(findmnt --noheadings --output OPTIONS --mountpoint "$target" || true)
        case ",$options," in
        ,,) mount "$target" && echo "mounted $target" ;;
        *,ro,*) mount -o remount,rw "$target" && echo "made $target writable" ;;
        esac
    done < <(findmnt --fstab --noheadings --types xfs --output TARGET | grep "^$root/" || true)
    for dropin in /run/systemd/system/*.d/infn-cloud-drill.conf; do
        [ -e "$dropin" ] || continue
        rm "$dropin"
        rmdir --ignore-fail-on-non-empty "${dropin%/*}"
        systemctl daemon-reload
        echo "removed $dropin"
    done
    # What is enabled and does not run, although all that it waits for is there.
    for unit in $(systemctl list-units --all --plain --no-legend --type service --state failed,inactive \
        'swift*' 'keystone*' haproxy.service memcached.service mariadb.service rsync.service \
        opensearch.service 'log-*' | awk '{print $1}'); do
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
        systemctl start "$unit" || { echo "$unit does not start: see journalctl --unit $unit" >&2; wrong=1; }
        [ "$(systemctl is-active "$unit")" != active ] || echo "started $unit"
    done
    # Last: this may be the timer's own run.
    rm -rf "$state"
    systemctl stop infn-cloud-drill.timer 2>/dev/null || true
    return "$wrong"
}

verb=$1
shift
case $verb in
readonly) readonly_disk "$@" ;;
kill) kill_units "$@" ;;
arm | cut | part | unmount | heal) "$verb" "$@" ;;
*) echo "no such verb: $verb" >&2; exit 2 ;;
esac
