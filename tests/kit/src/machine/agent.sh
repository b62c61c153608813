#!/bin/bash
# Runs in the guest, started by systemd: takes scripts from the test over a virtio-serial port and answers with their
# exit code and output. A script is `LENGTH\n` and its bytes; an answer is `CODE OUT-LENGTH ERR-LENGTH\n` and both texts.
for name in /sys/class/virtio-ports/*/name; do
    [ "$(<"$name")" = holm.test ] || continue
    port=${name%/name}
    exec 3<>"/dev/${port##*/}"
done
mkdir -p /run/agent
cd /root || exit 1
echo "ready $(</proc/sys/kernel/random/boot_id)" >&3
while read -r length <&3; do
    head -c "$length" <&3 >/run/agent/script
    bash /run/agent/script </dev/null >/run/agent/out 2>/run/agent/err 3>&-
    code=$?
    printf '%d %d %d\n' "$code" "$(stat -c %s /run/agent/out)" "$(stat -c %s /run/agent/err)" >&3
    cat /run/agent/out /run/agent/err >&3
done
