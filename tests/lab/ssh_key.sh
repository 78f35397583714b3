#!/usr/bin/env bash
# Makes the key that Ansible enters the lab's hosts with, once, and prints the path of the private half.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

key=$CACHE/ssh/id_ed25519
mkdir -p "$CACHE/locks" "$CACHE/ssh"
exec 9> "$CACHE/locks/ssh"
flock 9
if [ ! -s "$key" ]; then
  chmod 700 "$CACHE/ssh"
  rm -f "$key" "$key.pub"
  ssh-keygen -q -t ed25519 -N '' -C legionio-lab -f "$key"
fi
echo "$key"
