#!/bin/bash
# RabbitMQ 4.0 on Debian 13: the hub of the lab, and a broker for the integration tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/lab/common.sh
. "$here/../common.sh"
# shellcheck source=tests/lab/parts/image.sh
. "$here/image.sh"
image_recipe trixie "rabbitmq-server" "$@"
