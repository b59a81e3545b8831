#!/bin/busybox sh
# Mounts the slot that the boot loader chose, read-only, under an overlay that forgets.
/bin/busybox mkdir -p /proc /sys /dev /lower /upper /root /kept
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" 2>/dev/null; done < /modules/order

stop() {
  echo "initrd: $1; the machine restarts in 10 s" > /dev/console
  sleep 10
  reboot -f
}

label=
for word in $(cat /proc/cmdline); do
  case $word in root=PARTLABEL=*) label=${word#root=PARTLABEL=} ;; esac
done
[ -n "$label" ] || stop "the boot loader named no slot"

partition() { # partition LABEL: its device, or nothing
  for entry in /sys/class/block/*/uevent; do
    if grep -qx "PARTNAME=$1" "$entry"; then
      echo "/dev/$(sed -n 's/^DEVNAME=//p' "$entry")"
      return
    fi
  done
}

for second in $(seq 60); do
  device=$(partition "$label")
  [ -n "$device" ] && break
  sleep 1
done
[ -n "$device" ] || stop "no partition is labelled $label after $second s"

mount -t squashfs -o ro "$device" /lower || stop "the system on $device cannot be read"
mount -t tmpfs -o size=25%,mode=0755 tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /root ||
  stop "the overlay cannot be mounted"
# The identity that the first start kept on the data partition; without it systemd makes a new one.
data=$(partition data)
if [ -n "$data" ] && mount -t ext4 -o ro "$data" /kept; then
  [ -f /kept/system/machine-id ] && cp /kept/system/machine-id /root/etc/machine-id
  umount /kept
fi
umount /sys /proc
mount --move /dev /root/dev
exec switch_root /root /lib/systemd/systemd
