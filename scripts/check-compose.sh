#!/usr/bin/env bash
# Checks docker-compose.yml: with `docker compose config` where the plugin is installed (no engine
# needed), else with the library it is made of, built by go. Ends with 0 and a remark if neither is here.
set -euo pipefail
cd "$(dirname "$0")/.."
file="${1:-docker-compose.yml}"

if docker compose version >/dev/null 2>&1; then
  docker compose -f "$file" config --quiet
  echo "$file: docker compose accepts it"
  exit 0
fi
if ! command -v go >/dev/null; then
  echo "$file: not checked: neither docker compose nor go is here"
  exit 0
fi

version=v2.16.2
tools="${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/tools/compose-go-$version"
if [ ! -x "$tools/cmd" ]; then
  GOBIN="$tools" go install "github.com/compose-spec/compose-go/v2/cmd@$version"
fi
resolved=$("$tools/cmd" -format json "$file")

# The library lets a depends_on through that names no service.
python3 -c '
import json, sys
services = json.load(sys.stdin)["services"]
unknown = [f"{name} -> {other}" for name, service in services.items()
           for other in service.get("depends_on", {}) if other not in services]
sys.exit(f"depends_on names no service: {unknown}" if unknown else 0)
' <<<"$resolved"
echo "$file: compose-go $version accepts it"
