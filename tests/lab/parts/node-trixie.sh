#!/bin/bash
# A bare Debian host of the lab (trixie).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lab/common.sh
. "$here/../common.sh"
# shellcheck source=tests/lab/parts/image.sh
. "$here/image.sh"
image_recipe trixie "" "$@"
