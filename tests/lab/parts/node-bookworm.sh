#!/usr/bin/env bash
# A bare Debian host of the lab (bookworm).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$here/../common.sh"
# shellcheck source=image.sh
. "$here/image.sh"
image_recipe bookworm "" "$@"
