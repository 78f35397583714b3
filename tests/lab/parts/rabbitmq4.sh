#!/usr/bin/env bash
# RabbitMQ 4.0 on Debian 13: the hub of the lab, and a broker for the integration tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$here/../common.sh"
# shellcheck source=image.sh
. "$here/image.sh"
image_recipe trixie "rabbitmq-server" "$@"
