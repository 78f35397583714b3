#!/usr/bin/env bash
# Render the guides, and the reference of modules, plugins and roles, to web pages in FOLDER/html. A warning is an error.
#
# usage: in-stage.sh tests/tools/docs.sh [FOLDER]    (build/docs without a folder)
set -euo pipefail

site=${1:-$LEGIONIO_BUILD/docs}
venv=$("$(dirname "$0")/venv.sh" tests/requirements-docs.txt)
rm -rf "$site"
mkdir -p "$site"
antsibull-docs sphinx-init --use-current --squash-hierarchy --lenient --dest-dir "$site" legionio.ollama >"$site/init.log"
mkdir -p "$site/temp-rst" "$site/rst"
antsibull-docs --config-file "$site/antsibull-docs.cfg" collection --use-current --squash-hierarchy \
  --dest-dir "$site/rst" legionio.ollama
python3 tests/tools/site_guides.py . "$site"
PATH=$venv/bin:$PATH "$venv/bin/python" -m sphinx -q -W --keep-going -b html "$site/rst" "$site/html" -c "$site"
echo "The site is in $site/html/index.html"
