#!/usr/bin/env bash
# Hand the newest archive of build/dist to galaxy-importer, as Galaxy would: what it refuses or warns of fails.
#
# usage: in-stage.sh tests/tools/import_archive.sh
set -euo pipefail

archive=$("$(dirname "${BASH_SOURCE[0]}")/newest_archive.sh")

# It writes its result beside itself, and works on a copy of its own.
work=$LEGIONIO_BUILD/importer
mkdir -p "$work"
cd "$work"
export GALAXY_IMPORTER_CHECK_REQUIRED_TAGS=true GALAXY_IMPORTER_REQUIRE_V1_OR_GREATER=true
export GALAXY_IMPORTER_RUN_ANSIBLE_DOC=true GALAXY_IMPORTER_OFFLINE_ANSIBLE_LINT=true
# `make lint` runs ansible-lint over the same files, with the stricter profile.
[[ ${TEST_DEPTH:-quick} != deep ]] || export GALAXY_IMPORTER_RUN_ANSIBLE_LINT=true
unset ANSIBLE_COLLECTIONS_PATH PYTHONPATH # the archive alone answers

status=0
python -m galaxy_importer.main "$archive" >importer.log 2>&1 || status=$?
cat importer.log
if [[ $status != 0 ]] || ! grep -q 'Importer processing completed successfully' importer.log; then
  echo "galaxy-importer refused $archive" >&2
  exit 1
fi
if grep -E '^(WARNING|ERROR|CRITICAL)' importer.log >/dev/null; then
  echo "galaxy-importer took $archive, with the complaints above" >&2
  exit 1
fi
