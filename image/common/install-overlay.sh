#!/bin/sh
# install-overlay.sh ROOT: puts the overlay into a root file system that is being built.
# Idempotent; needs nothing but coreutils, so that every builder and distribution can call it.
set -eu
root=${1:?usage: install-overlay.sh ROOT}
here=$(cd "$(dirname "$0")" && pwd)

put() { # put MODE FOLDER FILE...
  mode=$1 folder=$root$2
  shift 2
  install -d -m 0755 "$folder"
  install -m "$mode" "$@" "$folder"
}

put 0644 /usr/lib/systemd/system "$here"/systemd/*.service
put 0755 /usr/lib/edgeinspect "$here"/bin/*
put 0644 /etc/ssh/sshd_config.d "$here"/ssh/10-edgeinspect.conf
put 0440 /etc/sudoers.d "$here"/sudoers.d/edgeinspect
put 0644 /usr/lib/sysusers.d "$here"/sysusers.d/edgeinspect.conf
put 0644 /usr/lib/tmpfiles.d "$here"/tmpfiles.d/edgeinspect.conf
put 0644 /usr/lib/systemd/journald.conf.d "$here"/journald.conf.d/edgeinspect.conf
put 0644 /usr/lib/systemd/system.conf.d "$here"/system.conf.d/edgeinspect.conf
put 0644 /usr/lib/systemd/resolved.conf.d "$here"/resolved.conf.d/edgeinspect.conf
put 0644 /usr/lib/udev/rules.d "$here"/udev/60-edgeinspect.rules
put 0644 /usr/share/edgeinspect "$here"/conf/station.conf.example

wants=$root/etc/systemd/system/multi-user.target.wants
install -d -m 0755 "$wants" "$root/data"
for unit in edgeinspect edgeinspect-setup edgeinspect-hold-reject edgeinspect-hostkeys; do
  ln -sf "/usr/lib/systemd/system/$unit.service" "$wants/$unit.service"
done

# The only host key is the one that the first start makes on the data partition.
rm -f "$root"/etc/ssh/ssh_host_*
