#!/bin/sh
# Builds what a release publishes: source archive and wheel of both packages, with checksums, in
# dist/. docs/how-to/release.md has the whole process.
#
#   tools/build-release.sh BIN
#
# BIN is the folder of the programs of a virtual environment, with python and uv.
set -eu
bin=$1
cd "$(dirname "$0")/.."

stop() {
  echo "release: $1" >&2
  exit 1
}

version=$("$bin/python" -c 'import edgeinspect; print(edgeinspect.__version__)')
[ -z "$(git status --porcelain)" ] || stop "some files are not committed; commit them first."
grep -Eq "^## \[$version\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md ||
  stop "CHANGELOG.md has no section '## [$version] - YYYY-MM-DD'; write it first."
grep -Fqx "version = \"$version\"" tools/pyproject.toml ||
  stop "tools/pyproject.toml has another version than edgeinspect/__init__.py ($version)."

# The same commit gives the same files.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf dist
for package in . tools; do
  "$bin/uv" build --quiet --build-constraints requirements.lock --out-dir dist "$package"
done
rm -f dist/.gitignore
(cd dist && sha256sum -- *.whl *.tar.gz >SHA256SUMS)

# The wheels work in an environment that has never seen this checkout.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
"$bin/uv" venv --quiet --python "$bin/python" "$trial/venv"
"$bin/uv" pip install --quiet --python "$trial/venv/bin/python" --constraints requirements.lock \
  "dist/edgeinspect-$version-py3-none-any.whl"
# Without TensorFlow and the other large libraries: the command must start without them, too.
"$bin/uv" pip install --quiet --python "$trial/venv/bin/python" --no-deps \
  "dist/edgeinspect_tools-$version-py3-none-any.whl"
checkout=$PWD
cd "$trial"
for program in edgeinspect edgeinspect-tools; do
  "venv/bin/$program" --version | grep -F "$version" || stop "$program has another version."
done
venv/bin/edgeinspect check sim-surface >check.log 2>&1 || { cat check.log; stop "check failed."; }
cat "$checkout/dist/SHA256SUMS"
