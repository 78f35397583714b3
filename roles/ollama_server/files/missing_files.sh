#!/bin/sh
# Usage: missing_files.sh PATH...
#
# Prints each PATH that is no file. A service with such a path in its settings could not start.
set -u
for path; do
    [ -f "$path" ] || printf '%s\n' "$path"
done
