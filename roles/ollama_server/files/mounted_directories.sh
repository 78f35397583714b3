#!/bin/sh
# Usage: mounted_directories.sh PATH...
#
# Prints each PATH that is a mount point, or has one in it. Such a directory can be emptied, but not removed.
# The kernel lists mount points without links, so links above PATH are followed. PATH itself is not: removing a link leaves its target alone.
set -eu

for path; do
    parent=$(realpath -m "$(dirname "$path")")
    real=${parent%/}/$(basename "$path")
    findmnt --noheadings --raw --output TARGET | while read -r mount; do
        case $mount/ in
            "$real"/*)
                echo "$path"
                break
                ;;
        esac
    done
done
