#!/usr/bin/env bash
# Make what a release consists of: the archive, bills of materials (CycloneDX), checksums, and a signature.
#
# usage: in-stage.sh tests/tools/release.sh
#
# RELEASE_KEY is the fingerprint of the secret key of GnuPG that signs; without it nothing is signed, and a line says so.
# The result is in build/release:
#   legionio-ollama-<version>.tar.gz       the archive of `make build`
#   legionio-ollama-<version>.asc          signature of the archive's MANIFEST.json, as `ansible-galaxy ... --signature` wants it
#   fleet-worker.cdx.json and others       what the worker's and the gateway's releases install, with versions and hashes
#   legionio.gpg                           the public key, as a keyring for `ansible-galaxy ... --keyring`
#   SHA256SUMS                             of all of these, and its signature SHA256SUMS.asc
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
die() { echo "release: $*" >&2; exit 1; }

version=$(sed -n 's/^version: //p' galaxy.yml)
archive=$LEGIONIO_BUILD/dist/legionio-ollama-$version.tar.gz
[[ -f $archive ]] || die "there is no $archive. Make it: make build"
out=$LEGIONIO_BUILD/release
rm -rf "$out"
mkdir -p "$out"
cp "$archive" "$out/"

cyclonedx=$("$here/venv.sh" "$here/../requirements-release.txt")/bin/cyclonedx-py
bill() { # NAME REQUIREMENTS
  # Reproducible: without the time and a random number.
  "$cyclonedx" requirements --output-reproducible --of JSON -o "$out/$1.cdx.json" "$2"
}
bill fleet-worker roles/fleet_worker/files/requirements.txt
bill fleet-worker-encryption roles/fleet_worker/files/requirements-encryption.txt
bill fleet-gateway roles/fleet_gateway/files/requirements.txt

if [[ -n ${RELEASE_KEY:-} ]]; then
  sign() { gpg --batch --yes --local-user "$RELEASE_KEY" --armor --detach-sign --output "$2" "$1"; }
  manifest=$(mktemp)
  trap 'rm -f "$manifest"' EXIT
  tar --extract --gzip --to-stdout --file "$archive" MANIFEST.json > "$manifest"
  sign "$manifest" "$out/legionio-ollama-$version.asc"
  gpg --batch --export "$RELEASE_KEY" > "$out/legionio.gpg"
fi
(cd "$out" && sha256sum -- * > SHA256SUMS)
if [[ -n ${RELEASE_KEY:-} ]]; then
  sign "$out/SHA256SUMS" "$out/SHA256SUMS.asc"
else
  echo "release: not signed: RELEASE_KEY names no key" >&2
fi
ls -l "$out"
