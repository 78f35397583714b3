#!/usr/bin/env bash
# A bare Debian host of the lab (forky, the next release).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$here/../common.sh"
# shellcheck source=image.sh
. "$here/image.sh"
# What Debian tests is signed anew every day, for a week; a mirror that is a snapshot has an older signature.
export LEGIONIO_DEBIAN_MIRROR="[check-valid-until=no] ${LEGIONIO_DEBIAN_MIRROR:-http://deb.debian.org}"
image_recipe forky "" "$@"
