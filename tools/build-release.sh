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

# From a copy of the commit, so that nothing else gets in; the same commit gives the same wheels.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
mkdir "$trial/source"
git archive HEAD | tar -x -C "$trial/source"
rm -rf dist
for package in . tools; do
  "$bin/uv" build --quiet --python "$bin/python" --build-constraints requirements.lock \
    --out-dir dist "$trial/source/$package"
done
rm -f dist/.gitignore
(cd dist && sha256sum -- *.whl *.tar.gz >SHA256SUMS)

# The wheels work in an environment that has never seen this checkout.
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
venv/bin/edgeinspect check venv/share/edgeinspect/models/sim-surface >check.log 2>&1 || {
  cat check.log
  stop "the shipped model does not pass its check."
}
cat "$checkout/dist/SHA256SUMS"
