#!/usr/bin/env bash
# The npm packages that the gateway is tested with: DIR/node_modules.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sources=$here/../../integration/gateway/node_clients

case $1 in
  about) echo "installing packages of npm (some seconds, once)" ;;
  inputs) cat "$sources/package-lock.json" ;;
  build)
    cp "$sources/package.json" "$sources/package-lock.json" "$2"
    cd "$2"
    npm ci --ignore-scripts --no-audit --no-fund
    ;;
esac
