#!/bin/sh
# Usage: taken_names.sh USER [UNIT COMMAND]...
#
# Prints each UNIT that another program has: whose file exists, and does not contain COMMAND. Also prints USER, the dynamic
# user of the units, if it is another user: systemd would run the units as that one. An empty USER is not looked for.
set -u
user=$1
shift

while [ $# -gt 0 ]; do
    path=$(systemctl show --property=FragmentPath --value "$1.service")
    [ -z "$path" ] || grep --quiet --fixed-strings -e "$2" "$path" || echo "the unit $1.service ($path)"
    shift 2
done

[ -n "$user" ] || exit 0
number=$(getent passwd "$user" | cut -d : -f 3)
# systemd gives dynamic users the numbers from 61184 to 65519.
[ -z "$number" ] || { [ "$number" -ge 61184 ] && [ "$number" -le 65519 ]; } || echo "the user $user"
