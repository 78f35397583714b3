#!/usr/bin/env bash
# Make a release with a key of its own, and use it as a stranger would: check the sums, install, verify the signature. What
# was altered must be refused.
#
# usage: in-stage.sh tests/tools/try_release.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! command -v gpg > /dev/null; then
  echo "try_release: GnuPG is not installed: the release is made, and not signed" >&2
  exec "$here/release.sh"
fi
work=$(mktemp -d)
export GNUPGHOME=$work/gnupg
cleanup() {
  gpgconf --kill all
  rm -rf "$work"
}
trap cleanup EXIT
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'a release on trial <nobody@example.com>' ed25519 sign never
RELEASE_KEY=$(gpg --list-secret-keys --with-colons | awk -F: '/^fpr/ {print $10; exit}')
export RELEASE_KEY
"$here/release.sh"

version=$(sed -n 's/^version: //p' galaxy.yml)
cd "$LEGIONIO_BUILD/release"
sha256sum --check --quiet SHA256SUMS
gpg --quiet --verify SHA256SUMS.asc SHA256SUMS
# As the README has a reader look at the key.
gpg --show-keys --with-colons legionio.gpg | grep --quiet "^fpr:.*:$RELEASE_KEY:" || { echo "try_release: legionio.gpg lacks the key" >&2; exit 1; }
if gpg --list-packets legionio.gpg 2>&1 | grep --quiet 'secret key'; then
  echo "try_release: legionio.gpg has a secret key" >&2
  exit 1
fi
# Without the staged tree, which is an installed collection to Ansible.
galaxy() { env -u ANSIBLE_COLLECTIONS_PATH -u PYTHONPATH ansible-galaxy collection "$@" --collections-path "$work/collections"; }
# Against the signature alone, without a server of Galaxy.
verify() {
  galaxy verify legionio.ollama --offline --keyring "$PWD/legionio.gpg" --required-valid-signature-count 1 \
    --signature "file://$PWD/legionio-ollama-$version.asc"
}
must_refuse() { # WHAT
  if verify > "$work/log" 2>&1; then
    cat "$work/log"
    echo "try_release: $1 was taken for the release" >&2
    exit 1
  fi
}
galaxy install "$PWD/legionio-ollama-$version.tar.gz" --no-deps
verify
installed=$work/collections/ansible_collections/legionio/ollama
echo >> "$installed/README.md"
must_refuse "an altered file"
# Files that agree with an altered manifest agree with one another, and not with the signature.
galaxy install "$PWD/legionio-ollama-$version.tar.gz" --no-deps --force
sed -i 's/"version": ".*"/"version": "9.9.9"/' "$installed/MANIFEST.json"
must_refuse "an altered manifest"

for bill in *.cdx.json; do
  python -c 'import json, sys
bill = json.load(open(sys.argv[1]))
parts = bill["components"]
assert bill["bomFormat"] == "CycloneDX" and parts, sys.argv[1]
assert all(part.get("version") for part in parts), sys.argv[1]
print(sys.argv[1], len(parts), "components")' "$bill"
done
