#!/usr/bin/env bash
# Builds the camera bench: libcamera with its `virtual` pipeline, which replays JPEG files as the
# frames of a camera, and a virtual environment in which the real picamera2 runs on top of it.
#
#   tests/camera_bench/build.sh                      about 10 minutes; nothing to do if it is built
#   tests/camera_bench/build.sh --install-packages   installs the Debian packages it needs first
#
# Everything lies outside the repository, in $EDGEINSPECT_CAMERA_BENCH, by default
# ~/.cache/edgeinspect/camera-bench; any checkout can use it. $PYTHON names the Python to build for (default python3).
set -euo pipefail

LIBCAMERA=0.7.2-1
PICAMERA2=0.3.38
PACKAGES=(g++ pkg-config dpkg-dev debian-archive-keyring python3-dev
  libyaml-dev libudev-dev libyuv-dev libjpeg-dev libgnutls28-dev libcap-dev)

repo=$(cd "$(dirname "$0")/../.." && pwd)
bench=${EDGEINSPECT_CAMERA_BENCH:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeinspect/camera-bench}
python=${PYTHON:-python3}
mark=$bench/built
version="libcamera $LIBCAMERA, picamera2 $PICAMERA2, $("$python" --version)"

if [[ ${1:-} == --install-packages ]]; then
  apt-get update -qq && apt-get install -y -qq "${PACKAGES[@]}"
fi
if [[ -f $mark && $(cat "$mark") == "$version" ]]; then
  echo "The camera bench is built in $bench ($version)."
  exit 0
fi
if ! pkg-config --exists yaml-0.1 libudev libjpeg gnutls || [[ ! -f /usr/include/libyuv.h ]]; then
  echo "The camera bench needs Debian packages: run $0 --install-packages" >&2
  exit 4
fi

mkdir -p "$bench" && cd "$bench"
exec 9>"$bench/lock" && flock 9
rm -rf source build prefix venv "$mark"

# Debian's source package, verified by apt, without touching this machine's own apt configuration.
if [[ ! -f libcamera_${LIBCAMERA%-*}.orig.tar.gz ]]; then
  mkdir -p apt/lists/partial apt/archives/partial
  key=/usr/share/keyrings/debian-archive-keyring.gpg
  # The mirror that this machine has its packages from.
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | head -n 1)
  printf 'deb-src [signed-by=%s] %s %s main\n' \
    "$key" "$mirror" sid "$key" "$mirror" forky "$key" "$mirror" trixie >apt/sources.list
  options=(-qq -o "Dir::Etc::sourcelist=$bench/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State::Lists=$bench/apt/lists" -o "Dir::Cache=$bench/apt" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" source --download-only "libcamera=$LIBCAMERA"
fi
mkdir source && tar xzf "libcamera_${LIBCAMERA%-*}.orig.tar.gz" -C source --strip-components=1

"$python" -m venv venv
venv/bin/pip install --quiet meson ninja PyYAML ply Jinja2 'pybind11<3'
PATH=$bench/venv/bin:$PATH
meson setup build source --prefix="$bench/prefix" --libdir=lib --buildtype=release \
  -Dpipelines=virtual -Dipas= -Dpycamera=enabled -Dudev=enabled -Dcam=disabled -Dqcam=disabled \
  -Dgstreamer=disabled -Dlc-compliance=disabled -Ddocumentation=disabled -Dtracing=disabled \
  -Dv4l2=disabled -Dlibdw=disabled -Dlibunwind=disabled -Dwerror=false >meson.log
nice -n 5 ninja -C build install >ninja.log || { tail -40 ninja.log >&2; exit 1; }

venv/bin/pip install --quiet --no-deps "picamera2==$PICAMERA2"
venv/bin/pip install --quiet piexif pillow simplejpeg videodev2 python-prctl av jsonschema \
  'pytest>=8.2' 'pytest-timeout>=2.3' 'hypothesis>=6.100,<7'
venv/bin/pip install --quiet 'numpy>=1.26,<3' 'opencv-python-headless>=4.10,<6' 'pydantic>=2.7,<3' \
  'PyYAML>=6.0.1,<7' 'click>=8.1.7,<9' 'rich>=13.7,<16'
site=$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
{
  find "$bench/prefix/lib" -type d \( -name site-packages -o -name dist-packages \) -print
  # The libraries lie where the dynamic linker does not look; once loaded, they are found by name.
  for library in libcamera-base libcamera; do
    echo "import ctypes; ctypes.CDLL('$bench/prefix/lib/$library.so')"
  done
} >"$site/camera_bench.pth"
PYTHONPATH=$repo/tests/camera_bench/stubs venv/bin/python -c 'import libcamera, picamera2'
rm -rf build source
echo "$version" >"$mark"
echo "The camera bench is built in $bench ($version)."
