#!/usr/bin/env bash
# Lets a host of the lab reach nothing but the addresses named: fence.sh CONTAINER [ADDRESS | ADDRESS:PORT]...
# The rules live in the network namespace of the host, where its own root cannot lift them (it lacks CAP_NET_ADMIN),
# and are gone with it. Answers to those who call the host may leave. Prints "changed" when there was something to do.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
podman_settings

container=$1
shift
pid=$(as_root podman inspect --format '{{.State.Pid}}' "$container")
rules="*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"
for target in "$@"; do
  case $target in
    *:*) rules+="-A OUTPUT -d ${target%:*}/32 -p tcp -m tcp --dport ${target#*:} -j ACCEPT"$'\n' ;;
    *) rules+="-A OUTPUT -d $target/32 -j ACCEPT"$'\n' ;;
  esac
done
# Refused, not dropped: what tries must fail at once.
rules+="-A OUTPUT -j REJECT --reject-with icmp-admin-prohibited
COMMIT"

inside() { as_root nsenter --net --target "$pid" "$@"; }
in_force() { inside iptables-save -t filter | grep '^-A OUTPUT' || true; }
if [ "$(in_force)" != "$(grep '^-A OUTPUT' <<< "$rules")" ]; then
  inside iptables-restore --wait 10 <<< "$rules"
  [ "$(in_force)" = "$(grep '^-A OUTPUT' <<< "$rules")" ] || die "the fence of $container is not as wanted: $(in_force)"
  echo changed
fi
