#!/usr/bin/env bash
# Ollama 0.24.0 with its CPU runners: DIR/bin/ollama (and DIR/lib/ollama when it comes from the release archive), and
# DIR/ollama-linux.tgz of the same, the form in which the mirror serves it to nodes, with its checksum.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=0.24.0
releases=${LEGIONIO_OLLAMA_RELEASES:-https://github.com/ollama/ollama/releases/download}
case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac
# Five to seven times faster than the baseline, where the processor has it.
march=
if [ "$arch" = amd64 ] && grep -qw avx2 /proc/cpuinfo; then march=-march=x86-64-v3; fi

# Fails when there is no release archive to be had. One with a wrong checksum is no reason to build: it ends the script.
from_release() {
  local dir=$1 name found=
  for name in "ollama-linux-$arch.tar.zst" "ollama-linux-$arch.tgz"; do
    if curl -fsSIL --connect-timeout 5 --max-time 10 -o /dev/null "$releases/v$version/$name"; then found=$name; break; fi
  done
  [ -n "$found" ] || return 1
  curl -fsSL --connect-timeout 5 --speed-limit 100000 --speed-time 30 -o "$dir/$found" "$releases/v$version/$found" &&
    curl -fsSL --connect-timeout 5 --max-time 30 -o "$dir/sha256sum.txt" "$releases/v$version/sha256sum.txt" || return 1
  (cd "$dir" && sed 's#\*##; s#\./##' sha256sum.txt | grep " $found\$" | sha256sum --check -) || exit 1
  # The libraries for GPUs are most of its size, and no host of the lab has one.
  tar -x -C "$dir" -f "$dir/$found" --exclude='*cuda*' --exclude='*rocm*' --exclude='*vulkan*' --exclude='*mlx*' || return 1
  "$dir/bin/ollama" --version || return 1
  rm "$dir/$found" "$dir/sha256sum.txt"
}

# Module archives leave out folders named `vendor`, where Ollama keeps three headers: two come from Debian
# (nlohmann-json3-dev, libstb-dev), the third from another Go module that wraps the same library.
from_source() {
  local dir=$1 go
  go=$("$here/../parts.sh" path go)/bin/go
  export GOPATH=$dir/go GOCACHE=$dir/gocache GOFLAGS='-modcacherw -buildvcs=false' GOBIN=$dir/bin CGO_ENABLED=1
  mkdir -p "$dir/inc/miniaudio"
  malgo=$(cd "$dir" && "$go" mod download -json github.com/gen2brain/malgo@v0.11.24 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  cp "$malgo/miniaudio.h" "$dir/inc/miniaudio/"
  # Reproducible paths: the build directory is a temporary one.
  export CGO_CFLAGS="-O3 $march -I$dir/inc" CGO_CXXFLAGS="-O3 $march -I$dir/inc"
  nice "$go" install -trimpath -ldflags "-s -w -X=github.com/ollama/ollama/version.Version=$version" \
    "github.com/ollama/ollama@v$version"
  rm -rf "$dir/go" "$dir/gocache" "$dir/inc"
}

case $1 in
  about) echo "release archive, or else compiled from source (about 4 minutes, once)" ;;
  inputs) echo "$version $arch $march" ;;
  build)
    from_release "$2" || from_source "$2"
    "$2/bin/ollama" --version
    cd "$2"
    # Every folder the two ways leave: bin, and lib in a release.
    tar -c -- */ | gzip -1 > ollama-linux.tgz
    sha256sum ollama-linux.tgz > ollama-linux.tgz.sha256
    ;;
esac
