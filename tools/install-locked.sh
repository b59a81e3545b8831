#!/bin/sh
# Installs what it is asked for in the versions of requirements.lock, each file checked against its
# hash there. What the lock does not name is installed as pip would.
#
#   tools/install-locked.sh PYTHON ARGUMENT...
#
# PYTHON is the python of a virtual environment; the arguments are those of `uv pip install`. uv
# itself comes from the lock too. pip's package index is used, where another one is configured.
set -eu
python=$1
shift
lock=$(cd "$(dirname "$0")/.." && pwd)/requirements.lock

wanted=$(mktemp)
trap 'rm -f "$wanted"' EXIT
awk '/^[^ #]/ { is_uv = /^uv==/ } is_uv' "$lock" >"$wanted"
"$python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$wanted"

index=${PIP_INDEX_URL:-$("$python" -m pip config get global.index-url 2>/dev/null || true)}
[ -z "$index" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$index}"
"$python" -m uv pip install --quiet --python "$python" --constraints "$lock" \
  --build-constraints "$lock" "$@"
