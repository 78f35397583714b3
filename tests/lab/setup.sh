#!/usr/bin/env bash
# Installs what the lab needs from the distribution: setup.sh [--check] [--clients]
# With --check it only says what is missing (exit 1 when something is). With --clients also a browser, and Node.js with
# npm where the machine has none, for the tests of the gateway.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

# nlohmann-json3-dev and libstb-dev replace headers that Go module archives cannot carry (see parts/ollama.sh).
packages=(
  ca-certificates curl openssh-client zstd python3-venv ruby-bunny
  podman runc netavark aardvark-dns iptables iproute2 mmdebstrap
  gcc g++ libc6-dev nlohmann-json3-dev libstb-dev
)

for word in "$@"; do
  if [ "$word" = --clients ]; then
    packages+=(chromium fonts-dejavu-core)
    { command -v node && command -v npm; } > /dev/null || packages+=(nodejs npm)
  fi
done

# Host images, builds and their archives take 3 GB of the cache; containers and tests a few more.
mkdir -p "$CACHE"
free=$(df -Pk "$CACHE" | awk 'NR == 2 {print int($4 / 1048576)}')
[ "$free" -ge 8 ] || die "only $free GB are free in $CACHE, and the lab wants 8" \
  "make room, or set LEGIONIO_CACHE to a directory on a larger disk"
memory=$(awk '/MemTotal/ {print int($2 / 1048576)}' /proc/meminfo)
[ "$memory" -ge 3 ] || die "this machine has $memory GB of memory, and the lab wants 4" "use a larger machine"

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  missing=()
  for tool in ruby podman runc iptables ip nsenter mmdebstrap gcc g++ ssh-keygen zstd curl flock; do
    command -v "$tool" > /dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} -gt 0 ] || { say "Not a Debian machine (untested), but every tool is here."; exit 0; }
  die "this is not a Debian machine, and these tools are missing: ${missing[*]}" \
    "install them with your package manager (podman >= 4.3 with netavark and runc; headers of nlohmann-json and stb; Ruby with bunny), then run this again. Debian 12 is what is tested."
fi

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [[ " $* " == *" --check "* ]]; then
  say "missing packages: ${missing[*]}"
  exit 1
fi
if [ "$(id -u)" != 0 ] && ! sudo -n true 2> /dev/null; then
  die "these packages are missing and neither root nor password-free sudo is at hand: ${missing[*]}" \
    "run 'sudo apt-get install --no-install-recommends ${missing[*]}', or allow sudo, then run this again"
fi

say "Installing from the distribution: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lock timeout lets two callers, or an unattended upgrade, take turns.
if ! { as_root apt-get -q update && as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 25 "$log" >&2
  die "apt-get could not install: ${missing[*]}" "see the lines above; apt needs a Debian mirror it can reach"
fi
