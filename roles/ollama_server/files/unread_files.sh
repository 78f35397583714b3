#!/bin/sh
# Usage: unread_files.sh UNIT PATH...
#
# Prints what of each PATH was written after UNIT had read it, so that the process that runs does not know it. Nothing is
# printed for a PATH that does not exist. A directory counts when something came or went in it.
#
# While UNIT does not run, only its unit file is printed, if it is a PATH: systemd reads unit files and drop-ins when it is
# reloaded, not when it starts a unit. So a start, also one after a crash, uses what systemd has read before.
#
# Times are systemd's own, in microseconds since the epoch: no text with a time zone has to be read. A file's time is that
# of its last change (ctime), since a file that is moved into place, or copied with its date, has an older date.
#
# UNIT reads files when its main process is started. RELOADED=PATH names a file that it also reads when it is reloaded.
set -u
unit=$1
shift

object=/org/freedesktop/systemd1/unit/$(printf %s "$unit" | sed 's/-/_2d/g; s/\./_2e/g; s/@/_40/g')

moment() { # moment INTERFACE PROPERTY
    busctl get-property org.freedesktop.systemd1 "$object" "org.freedesktop.systemd1.$1" "$2" 2>/dev/null | cut -d ' ' -f 2
}

newer() { # newer MICROSECONDS PATH...
    [ $# -gt 1 ] || return 0
    since=$(printf '@%d.%06d' "$(($1 / 1000000))" "$(($1 % 1000000))")
    shift
    # Of a link, the link itself and the file that it leads to, but nothing in a directory that it leads to.
    { find "$@" -newerct "$since"; find -H "$@" -maxdepth 0 -newerct "$since"; } 2>/dev/null | sort -u
}

unread() { # unread PATH...
    for path; do
        [ "$path" = "/etc/systemd/system/$unit" ] || continue
        [ "$(systemctl show --property=NeedDaemonReload --value "$unit")" != yes ] || printf '%s\n' "$path"
    done
    case $(systemctl is-active "$unit") in active | reloading | activating | deactivating) ;; *) return 0 ;; esac
    started=$(moment Service ExecMainStartTimestamp)
    [ "${started:-0}" -gt 0 ] || return 0
    newer "$started" "$@"
    if [ -n "${RELOADED:-}" ]; then
        # A reload changes the state of the unit. So does the end of a start, and a process that is slow to get ready may
        # have read its files long before; only a reload comes after the unit has become active.
        changed=$(moment Unit StateChangeTimestamp)
        active=$(moment Unit ActiveEnterTimestamp)
        [ "${changed:-0}" -gt "${active:-0}" ] && [ "${active:-0}" -ge "$started" ] || changed=$started
        newer "$changed" "$RELOADED"
    fi
    return 0
}
unread "$@" | sort -u
