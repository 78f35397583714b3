#!/bin/sh
# Usage: closed_directory.sh USER GROUP PATH...
#
# Prints, for each PATH, the first directory above it that USER may not enter, as "DIRECTORY MODE OWNER:GROUP". Nothing is
# printed where the way is free. The kernel is asked, as that user, so access control lists count as well.
# A user that does not exist yet is stood in for by one with no rights but those of GROUP and of everybody.
set -eu
user=$1 group=$2
shift 2

if id "$user" >/dev/null 2>&1; then
    uid=$(id -u "$user") gid=$(id -g "$user") groups=--init-groups
else
    # 65534 is nobody everywhere on Linux.
    uid=65534 gid=$(getent group "$group" | cut -d: -f3) groups=--clear-groups
fi

for path; do
    parent=$(dirname "$(realpath -m "$path")")
    walked=
    IFS=/
    for part in ${parent#/}; do
        walked=$walked/$part
        [ -d "$walked" ] || break
        if ! setpriv --reuid="$uid" --regid="${gid:-65534}" "$groups" test -x "$walked"; then
            stat -c '%n %a %U:%G' "$walked"
            break
        fi
    done
    unset IFS
done
