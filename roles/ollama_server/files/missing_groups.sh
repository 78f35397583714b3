#!/bin/sh
# Usage: missing_groups.sh UNIT USER GROUP...
#
# Prints each GROUP that USER has joined and that the process of UNIT does not have: a process keeps the groups that its
# user had at its start. Nothing is printed while UNIT does not run, or runs as another user.
set -u
unit=$1 user=$2
shift 2

status=/proc/$(systemctl show --property=MainPID --value "$unit")/status
[ -r "$status" ] || exit 0
[ "$(awk '$1 == "Uid:" { print $2 }' "$status")" = "$(id -u "$user" 2>/dev/null)" ] || exit 0
for group; do
    id -G -n "$user" | tr ' ' '\n' | grep --quiet --line-regexp --fixed-strings -e "$group" || continue
    number=$(getent group "$group" | cut -d : -f 3)
    grep -E '^(Gid|Groups):' "$status" | grep --quiet --word-regexp -e "$number" || printf '%s\n' "$group"
done
