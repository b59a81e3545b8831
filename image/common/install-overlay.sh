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
put 0644 /usr/lib/systemd/journald.conf.d "$here"/journald.conf.d/zz-edgeinspect.conf
put 0644 /usr/lib/systemd/system.conf.d "$here"/system.conf.d/edgeinspect.conf
put 0644 /usr/lib/sysctl.d "$here"/sysctl.d/60-edgeinspect.conf
put 0644 /usr/lib/systemd/resolved.conf.d "$here"/resolved.conf.d/edgeinspect.conf
put 0644 /etc/dbus-1/system.d "$here"/dbus-1/edgeinspect-rauc.conf
put 0644 /usr/lib/udev/rules.d "$here"/udev/70-edgeinspect.rules
put 0644 /usr/share/edgeinspect "$here"/conf/station.conf.example

wanted_by() { # wanted_by TARGET UNIT...
  wants=$root/etc/systemd/system/$1.target.wants
  shift
  install -d -m 0755 "$wants"
  for unit in "$@"; do
    ln -sf "/usr/lib/systemd/system/$unit.service" "$wants/$unit.service"
  done
}
install -d -m 0755 "$root/data"
wanted_by multi-user edgeinspect edgeinspect-setup edgeinspect-hold-reject edgeinspect-hostkeys \
  edgeinspect-zram
wanted_by sysinit edgeinspect-keep
wanted_by local-fs edgeinspect-grow

# Nobody can log in at a console, for there are no passwords, so none is offered; and a partition that
# cannot be mounted must not end in a console that nobody can use, but go on to SSH.
for unit in getty@.service serial-getty@.service console-getty.service \
  emergency.service emergency.target rescue.service rescue.target; do
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# Accounts are made by the image, and what a technician may do stands in sudoers.d: no other program
# needs to run as somebody else than its caller.
for program in chage chfn chsh expiry gpasswd mount newgrp passwd ssh-agent su umount; do
  [ ! -f "$root/usr/bin/$program" ] || chmod u-s,g-s "$root/usr/bin/$program"
done
[ ! -f "$root/usr/lib/openssh/ssh-keysign" ] || chmod u-s "$root/usr/lib/openssh/ssh-keysign"

# The only host key is the one that the first start makes on the data partition, and the journal is
# on disk only where that partition is bound to its place.
rm -f "$root"/etc/ssh/ssh_host_*
rm -rf "$root/var/log/journal"
