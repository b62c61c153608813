#!/bin/busybox sh
# First program of the guest: loads what the root disk needs, and hands over to systemd.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
for module in /modules/*; do
    /bin/busybox insmod "$module"
done
until [ -b /dev/vda ]; do
    /bin/busybox sleep 0.02
done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox poweroff -f
/bin/busybox umount /proc /sys
exec /bin/busybox switch_root /root /lib/systemd/systemd
