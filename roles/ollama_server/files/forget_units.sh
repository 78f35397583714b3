#!/bin/sh
# Usage: forget_units.sh UNIT...
#
# Makes systemd forget each UNIT whose file was removed, perhaps by an earlier run that was interrupted. Until then systemd
# keeps the unit in its memory, and lists a unit that has failed, so that the state of the host is "degraded".
set -u
for unit; do
    [ "$(systemctl show --property=LoadState --value "$unit")" = not-found ] || known=yes
done
[ -z "${known:-}" ] || systemctl daemon-reload || exit
for unit; do
    # A unit that has not failed is an error.
    systemctl reset-failed "$unit" 2>/dev/null
done
exit 0
