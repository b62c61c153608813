#!/bin/sh
# A container whose root is nobody on the host. /etc/subuid and /etc/subgid must give Holm's containers ids, once:
#   echo holm:2147483648:1073741824 >>/etc/subuid; echo holm:2147483648:1073741824 >>/etc/subgid
set -eu
folder=$(mktemp -d)
trap 'holm volume rm -f private >/dev/null; rm -rf "$folder"' EXIT
chmod 755 "$folder"
echo "of the host's root" >"$folder/file"

holm run --rm --userns auto alpine sh -c 'echo "root inside: $(id -u)"'
holm run --rm --userns auto alpine sh -c 'test "$(awk "{print \$2}" /proc/self/uid_map)" -gt 0 && echo "nobody outside"'

# Volumes keep the ids inside, whichever container uses them; a bind has the host's unless mapped.
holm run --rm --userns auto -v private:/data alpine touch /data/file
holm run --rm -v private:/data alpine stat -c 'volume: owner %u' /data/file
holm run --rm --userns auto -v "$folder:/mnt" alpine stat -c 'bind: owner %u' /mnt/file
holm run --rm --userns auto -v "$folder:/mnt:idmap" alpine stat -c 'mapped bind: owner %u' /mnt/file
