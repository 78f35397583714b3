#!/usr/bin/env bash
# Build an execution environment from the newest archive of build/dist with ansible-builder, and run a playbook in it.
# Nothing is fetched: the base image and the wheels are a part of the lab.
#
# usage: in-stage.sh tests/tools/execution_environment.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lab/common.sh
. "$here/../lab/common.sh"
podman_settings

definition=$here/../execution-environment
base=localhost/legionio-lab/execution-environment-base:latest
image=localhost/legionio-lab/execution-environment:latest
work=$LEGIONIO_BUILD/execution-environment

archive=$("$here/newest_archive.sh")
# The whole path, since sudo has a PATH of its own.
builder=$(command -v ansible-builder) || die "the environment of the tests has no ansible-builder" "run 'make execution-environment'"
part=$("$LAB/parts.sh" path execution-environment)

remove_images() {
  for name in "$image" "$base"; do
    ! as_root podman image exists "$name" || as_root podman rmi --force "$name" > /dev/null
  done
}
trap remove_images EXIT
remove_images

as_root rm -rf "$work"
mkdir -p "$work"
cp "$definition/execution-environment.yml" "$work"
cp "$archive" "$work/legionio-ollama.tar.gz"
# Mounted while the image is built, so that none of it stays in the image.
printf '[global]\nno-index = true\nfind-links = /wheels\n' > "$work/pip.conf"

say "Importing the base image"
as_root podman import -q "$part/image.tar" "$base" > /dev/null
say "Building the image; the log is $work/build.log"
as_root "$builder" build --file "$work/execution-environment.yml" --context "$work/context" --tag "$image" \
  --container-runtime podman --extra-build-cli-args \
  "--layers=false --pull=never --network=none --volume='$part/wheels:/wheels:ro' --volume='$work/pip.conf:/etc/pip.conf:ro'" \
  > "$work/build.log" 2>&1 \
  || { tail -n 40 "$work/build.log" >&2; die "ansible-builder could not build the image" "see the lines above; the whole log is $work/build.log"; }

PYTHONPATH=$PYTHONPATH:$LAB python "$definition/run.py" "$image" \
  || die "the playbook failed in the execution environment" "see the lines above"
