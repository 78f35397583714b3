#!/usr/bin/env bash
# Builds the heavy parts of the lab once and keeps them in the cache:
#   parts.sh [NAME...]       make the named parts (all of them without a name)
#   parts.sh path NAME...    the same, then print the directory of each
# A part is the script parts/NAME.sh. `parts/NAME.sh inputs` prints whatever else decides its content; the hash of
# both is its key, so a changed recipe builds anew and an unchanged one costs nothing. `parts/NAME.sh build DIR`
# fills DIR, which is then moved into place whole: a killed build leaves no half part behind.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"

all=(ollama models versitygw node-bookworm node-trixie rabbitmq4 rabbitmq3 wheelhouse)
# What only some tests need, and what other parts need: made when named.
others=(ollama-oldest ollama-newest podman-connection go minio s3proxy garage node-clients node-forky execution-environment)

recipe() { printf '%s/parts/%s.sh' "$LAB" "$1"; }

directory() {
  local key
  key=$({ cat "$(recipe "$1")"; "$(recipe "$1")" inputs; } | sha256sum | cut -c1-16)
  printf '%s/parts/%s-%s' "$CACHE" "$1" "$key"
}

link() { # link NAME DIR: stable names for people, for Ansible and for tests
  local target=$2 tmp
  case $1 in
    ollama | versitygw) target=$2/bin/$1; set -- "bin/$1" ;;
    models) target=$2/models; set -- store ;;
    wheelhouse) set -- wheelhouse ;;
    *) return 0 ;;
  esac
  [ "$(readlink "$CACHE/$1")" != "$target" ] || return 0
  mkdir -p "$(dirname "$CACHE/$1")"
  tmp=$CACHE/$1.$$
  ln -sfn "$target" "$tmp"
  mv -T "$tmp" "$CACHE/$1"
}

# Says every half minute that the work goes on, as long as this script lives.
tick() {
  local started=$SECONDS nap=
  trap 'kill "$nap"; exit 0' TERM
  while kill -0 $$ 2> /dev/null; do
    sleep 30 & nap=$!
    wait "$nap"
    say "  $1: still at work ($((SECONDS - started)) s)"
  done
}

make_part() {
  local name=$1 dir tmp log started
  dir=$(directory "$name")
  if [ ! -d "$dir" ]; then
    mkdir -p "$CACHE"/{parts,locks,log,tmp}
    exec 9> "$CACHE/locks/$name"
    flock -n 9 || { say "  $name: another process is building it, waiting"; flock 9; }
    if [ ! -d "$dir" ]; then
      # This process holds the lock: what is there was left by a build that was killed.
      as_root rm -rf "$CACHE/tmp/$name".*
      tmp=$(mktemp -d "$CACHE/tmp/$name.XXXXXX")
      log=$CACHE/log/$name.log
      started=$SECONDS
      say "  $name: $("$(recipe "$name")" about)"
      tick "$name" 9>&- & local ticker=$!
      if ! "$(recipe "$name")" build "$tmp" > "$log" 2>&1 9>&-; then
        kill "$ticker"
        tail -n 25 "$log" >&2
        as_root rm -rf "$tmp"
        die "the part '$name' could not be made" "see the lines above; the whole log is $log"
      fi
      kill "$ticker"
      chmod 755 "$tmp"
      mv -T "$tmp" "$dir"
      # Images change with every month's packages: nobody misses those of the month before last.
      find "$CACHE/parts" -maxdepth 1 -name "$name-*" -mtime +60 -exec rm -rf {} +
      say "  $name: done ($((SECONDS - started)) s)"
    fi
    exec 9>&-
  fi
  link "$name" "$dir"
}

if [ "${1:-}" = path ]; then
  shift
  for name in "$@"; do
    make_part "$name"
    directory "$name"
    echo
  done
  exit 0
fi
[ $# -gt 0 ] || set -- "${all[@]}"
for name in "$@"; do
  [[ " ${all[*]} ${others[*]} " == *" $name "* ]] || die "no part is called '$name'" "the parts are: ${all[*]} ${others[*]}"
done
# Two chains side by side: one compiles, the other mostly waits for packages.
compiled=(ollama models versitygw "${others[@]}")
chain() { # chain compiled|fetched NAME...
  local which=$1 name kind
  shift
  for name in "$@"; do
    kind=fetched
    [[ " ${compiled[*]} " != *" $name "* ]] || kind=compiled
    [ "$kind" != "$which" ] || make_part "$name"
  done
}
(chain fetched "$@") & first=$!
(chain compiled "$@") & second=$!
failed=0
wait "$first" || failed=1
wait "$second" || failed=1
exit "$failed"
