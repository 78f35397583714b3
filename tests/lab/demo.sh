#!/usr/bin/env bash
# The demonstration: demo.sh up | ask [QUESTION] | down
#   up    from nothing to answers: tools, heavy parts, hosts, the collection's playbooks, two questions through the queue, and one
#         through the gateway
#   ask   one more question to the fleet that is up
#   down  takes the hosts away; the cache stays
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

images=(node-bookworm node-trixie rabbitmq4)
verb=${1:-up}
shift || true

step() { say; say "== $* ($(date +%H:%M:%S))"; }

# What is in force already is not worth a line; what changes is.
export ANSIBLE_DISPLAY_OK_HOSTS=false ANSIBLE_DISPLAY_SKIPPED_HOSTS=false ANSIBLE_SHOW_CUSTOM_STATS=false
export ANSIBLE_HOST_KEY_CHECKING=false ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false
[ ! -t 1 ] || export ANSIBLE_FORCE_COLOR=true
lab_environment
state=$LEGIONIO_BUILD/lab/demo
scenario=$REPO/extensions/molecule/demo
export ANSIBLE_INVENTORY=$scenario/inventory

play() { ansible-playbook "$@" || die "the playbook $1 failed" "its message is above; what it did so far stays, and 'make demo' goes on from there"; }

answers() {
  play "$scenario/ask.yml" > "$state/ask.log" 2>&1 || { cat "$state/ask.log" >&2; exit 1; }
  cat "$state/answers.txt"
}

through_gateway() {
  play "$scenario/gateway.yml" > "$state/gateway.log" 2>&1 || { cat "$state/gateway.log" >&2; exit 1; }
  # shellcheck source=/dev/null
  . "$state/gateway"
  local body='{"model": "smollm2:135m", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}'
  say
  say "  curl $GATEWAY/v1/chat/completions -H 'Authorization: Bearer $GATEWAY_KEY' -H 'Content-Type: application/json' \\"
  say "    -d '$body'"
  say
  curl --silent --show-error --fail-with-body --max-time 300 "$GATEWAY/v1/chat/completions" \
    -H "Authorization: Bearer $GATEWAY_KEY" -H 'Content-Type: application/json' -d "$body" > "$state/gateway.json" \
    || { cat "$state/gateway.json" >&2; die "the gateway did not answer" "look at: ansible hub -b -a 'journalctl -u fleet-gateway -n 20'"; }
  python3 -c 'import json, sys; print("  " + json.load(sys.stdin)["choices"][0]["message"]["content"].strip())' < "$state/gateway.json"
  say
  say "  The fleet in a browser: $GATEWAY/ with the key $GATEWAY_KEY"
  say
}

write_activate() {
  {
    echo "# source this file: the demo's Ansible, collection and inventory"
    printf 'export PATH=%q:"%s"\n' "$(dirname "$(command -v ansible-playbook)")" "\$PATH"
    for name in LEGIONIO_CACHE LEGIONIO_BUILD LAB CONTAINERS_CONF LAB_DEBIAN_MIRROR ANSIBLE_COLLECTIONS_PATH ANSIBLE_HOME \
      ANSIBLE_INVENTORY ANSIBLE_HOST_KEY_CHECKING ANSIBLE_LOCALHOST_WARNING LEGIONIO_DEMO_NET; do
      printf 'export %s=%q\n' "$name" "${!name-}"
    done
  } > "$state/activate"
}

case $verb in
  up)
    began=$SECONDS
    step "1/7 Tools of this machine"
    "$LAB/setup.sh"
    step "2/7 Heavy parts: built or downloaded once, then kept in $CACHE"
    "$LAB/parts.sh" ollama models versitygw "${images[@]}" wheelhouse
    mkdir -p "$state"
    step "3/7 Hosts: a hub (RabbitMQ, S3 server) and two nodes that reach nothing but the hub and the package mirror"
    play "$scenario/../shared/create.yml"
    play "$scenario/../shared/prepare.yml"
    step "4/7 Models: published to the mirror by the collection"
    play legionio.ollama.publish_models
    step "5/7 The fleet: from bare hosts to answers, by the collection's playbook"
    play legionio.ollama.provision_fleet
    step "6/7 Two questions through the queue"
    write_activate
    answers
    step "7/7 The gateway, for every other client"
    play legionio.ollama.provision_gateway
    through_gateway
    say "The fleet answers after $((SECONDS - began)) s."
    cat "$scenario/next.txt"
    ;;
  ask)
    [ -f "$state/activate" ] || die "no demo is up" "run 'make demo' first"
    # shellcheck source=/dev/null
    . "$state/activate"
    DEMO_QUESTION=${1:-} answers
    ;;
  down)
    as_root true || die "the hosts belong to root, and sudo asks for a password" "run 'sudo -v' first, or be root"
    if command -v podman > /dev/null; then
      hosts=$(as_root podman ps --all --quiet --filter label=legionio-lab=demo)
      # shellcheck disable=SC2086 # one word a host
      [ -z "$hosts" ] || as_root podman rm --force --volumes --time 0 $hosts > /dev/null
      as_root podman network rm --force legionio-demo > /dev/null 2>&1 || true
      "$LAB/images.sh" --remove "${images[@]}"
    fi
    # The reports of test runs are not the demo's, nor is anything that other hosts of the lab still need.
    rm -rf "$state"
    if [ -z "$(as_root podman ps --all --quiet --filter label=legionio-lab 2> /dev/null)" ]; then
      rm -rf "$LEGIONIO_BUILD"/{ansible_collections,ansible-home,lab}
    fi
    rmdir --ignore-fail-on-non-empty "$LEGIONIO_BUILD" 2> /dev/null || true
    say "The demo's hosts, their network and images are gone. Kept for the next time: $CACHE ($(du -sh "$CACHE" 2> /dev/null | cut -f1))."
    ;;
  *) die "demo.sh knows no '$verb'" "say: demo.sh up, demo.sh ask QUESTION, or demo.sh down" ;;
esac
