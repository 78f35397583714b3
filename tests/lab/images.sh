#!/usr/bin/env bash
# Makes the lab's images known to podman and prints their names: images.sh [--remove] NAME...
# NAME is a part whose recipe builds an image. --remove takes away those that no container uses; the archives stay in
# the cache.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
podman_settings

if [ "${1:-}" = --remove ]; then
  shift
  for name in "$@"; do
    for image in $(as_root podman images --format '{{.Repository}}:{{.Tag}}' --filter "reference=localhost/legionio-lab/$name"); do
      as_root podman rmi "$image" > /dev/null 2>&1 || true
    done
  done
  exit 0
fi

mkdir -p "$CACHE/locks"
for name in "$@"; do
  dir=$("$LAB/parts.sh" path "$name")
  image=localhost/legionio-lab/$name:${dir##*-}
  if ! as_root podman image exists "$image"; then
    exec 9> "$CACHE/locks/image-$name"
    flock 9
    if ! as_root podman image exists "$image"; then
      say "  $name: handing the image to podman"
      as_root podman import -q --change 'CMD ["/lib/systemd/systemd"]' --change 'STOPSIGNAL SIGRTMIN+3' \
        --change 'ENV container=podman' "$dir/image.tar" "$image" > /dev/null 9>&-
    fi
    # Those of older recipes; one that a container still uses stays.
    for other in $(as_root podman images --format '{{.Repository}}:{{.Tag}}' --filter "reference=localhost/legionio-lab/$name" 9>&-); do
      case $other in "$image" | *:latest) ;; *) as_root podman rmi "$other" > /dev/null 2>&1 9>&- || true ;; esac
    done
    exec 9>&-
  fi
  # Whenever asked: `--remove` can have taken this name away and had to leave the image, because a container used it.
  as_root podman tag "$image" "localhost/legionio-lab/$name:latest"
  echo "$image"
done
