#!/bin/sh
# Installs the station on a Debian-like system that runs already: Raspberry Pi OS, Debian, a Coral
# board's Mendel. Idempotent: run it again to update or to mend.
#
#   sudo ./install.sh [--wheels FOLDER] [--extras gpiod,rpi] [--data FOLDER] [--no-start]
#   sudo ./install.sh --uninstall [--delete-data]
#
# Without --wheels it installs from the checkout that it lies in and fetches what is missing from the
# package index; with --wheels it needs no network.
set -eu

prefix=/opt/edgeinspect
data=/var/lib/edgeinspect
wheels=
extras=gpiod
start=yes
uninstall=no
delete_data=no
here=$(cd "$(dirname "$0")" && pwd)

say() { printf 'install.sh: %s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit "${2:-1}"; }

while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=${2:?--wheels needs a folder}; shift 2 ;;
    --extras) extras=${2:?--extras needs names}; shift 2 ;;
    --data) data=${2:?--data needs a folder}; shift 2 ;;
    --no-start) start=no; shift ;;
    --uninstall) uninstall=yes; shift ;;
    --delete-data) delete_data=yes; shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "$1 is no option. See: $0 --help" 2 ;;
  esac
done

[ "$(id -u)" = 0 ] || fail "This changes the system; run it with sudo." 2
case $data in /*) ;; *) fail "--data $data is not an absolute path." 2 ;; esac
# It becomes part of a unit file, so it is nothing but a plain path.
case $data in *[!A-Za-z0-9._/-]* | *..*)
  fail "--data $data may hold only letters, digits and . _ / -, and no .." 2 ;;
esac
case $data in / | /etc | /usr | /var | /home) fail "--data $data would be taken over whole." 2 ;; esac
has_systemd() { [ -d /run/systemd/system ]; }

if [ "$uninstall" = yes ]; then
  if has_systemd; then
    systemctl disable --now edgeinspect.service 2>/dev/null || true
  fi
  rm -f /etc/systemd/system/edgeinspect.service /etc/udev/rules.d/70-edgeinspect.rules
  rm -f /usr/local/bin/edgeinspect
  rm -rf "$prefix"
  if has_systemd; then systemctl daemon-reload; fi
  if [ "$delete_data" = yes ]; then
    rm -rf "$data"
    userdel edgeinspect 2>/dev/null || true
    say "Removed, with the records, pictures, recipes and models in $data."
  else
    say "Removed. Records, pictures, recipes and models stay in $data."
  fi
  exit 0
fi

python=
for candidate in python3.13 python3.12 python3.11 python3; do
  if command -v "$candidate" >/dev/null &&
    "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "edgeinspect needs Python 3.11, 3.12 or 3.13; there is $(python3 --version 2>&1 || echo none)." 4
"$python" -c 'import ensurepip' 2>/dev/null || fail "Python cannot make virtual environments here. Run: apt install python3-venv" 4

for group in gpio video; do
  getent group "$group" >/dev/null || groupadd --system "$group"
done
if ! getent passwd edgeinspect >/dev/null; then
  useradd --system --home-dir "$data" --no-create-home --shell /usr/sbin/nologin edgeinspect
  say "Made the user edgeinspect, who cannot log in."
fi
usermod --append --groups gpio,video edgeinspect
# Root alone writes into the station's folder, where the station file and the trusted keys are, and the
# station and its group into the folder data below it. What is there from before is left as it is.
if [ ! -e "$data" ]; then
  install -d -m 2750 -o root -g edgeinspect "$data"
  install -d -m 2770 -o edgeinspect -g edgeinspect "$data/data"
fi

# A new environment beside the old one, changed at once: a failed update leaves what runs.
new=$prefix.new
rm -rf "$new"
"$python" -m venv --system-site-packages "$new"
if [ -n "$wheels" ]; then
  "$new/bin/pip" install --quiet --no-index --find-links "$wheels" "edgeinspect[$extras]"
else
  "$new/bin/pip" install --quiet "$(dirname "$here")[$extras]"
fi
"$new/bin/python" -m edgeinspect --version >/dev/null
rm -rf "$prefix.old"
[ ! -d "$prefix" ] || mv "$prefix" "$prefix.old"
mv "$new" "$prefix"
# the scripts of a virtual environment name its folder
sed -i "1s|^#!$new/|#!$prefix/|" "$prefix"/bin/*
rm -rf "$prefix.old"
ln -sf "$prefix/bin/edgeinspect" /usr/local/bin/edgeinspect

install -d /etc/systemd/system /etc/udev/rules.d
sed -e "s|/data/edgeinspect|$data|g" -e '/edgeinspect-setup\.service/d' \
  -e "s|RequiresMountsFor=/data|RequiresMountsFor=$data|" \
  "$here/common/systemd/edgeinspect.service" > /etc/systemd/system/edgeinspect.service
grep -v EDGEINSPECT "$here/common/udev/70-edgeinspect.rules" > /etc/udev/rules.d/70-edgeinspect.rules
if command -v udevadm >/dev/null; then udevadm control --reload 2>/dev/null || true; fi

say "Installed $("$prefix/bin/edgeinspect" --version) in $prefix; data in $data."
if has_systemd; then
  systemctl daemon-reload
  systemctl enable --quiet edgeinspect.service
  if [ -f "$data/station.yaml" ] && [ "$start" = yes ]; then
    systemctl restart edgeinspect.service
    say "The station is started."
  else
    say "Next: write $data/station.yaml as root, with data_dir: data; check it with: edgeinspect check $data/station.yaml"
    say "Then: systemctl start edgeinspect.service"
  fi
else
  say "There is no systemd here: start it with your own supervisor, as the user edgeinspect:"
  say "  $prefix/bin/edgeinspect run --config $data/station.yaml"
fi
