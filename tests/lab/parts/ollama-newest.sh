#!/usr/bin/env bash
# Ollama 0.32.5 as `go install` makes it: the whole API, without the runners that inference needs. DIR/bin/ollama.
set -euo pipefail
"$(dirname "$0")/../ollama-compat.sh" "$1" 0.32.5 "${2:-}"
