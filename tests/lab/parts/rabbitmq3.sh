#!/usr/bin/env bash
# RabbitMQ 3.10 on Debian 12, for the integration tests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$here/../common.sh"
# shellcheck source=image.sh
. "$here/image.sh"
image_recipe bookworm "rabbitmq-server" "$@"
