#!/usr/bin/env bash
# Makes tools/order.txt, the functions that `holm run` runs, from the release binary: tools/order.sh, as root, on x86-64.
#
# To be run when the start has changed much or the compiler is another one; takes two minutes. Needs busybox-static.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
holm=$here/../target/release/holm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HOLM_DATA_ROOT=$work/data HOLM_RUN_ROOT=$work/run
mkdir -p "$work/root/bin" "$work/root/etc"
cp /bin/busybox "$work/root/bin/true"
tar -C "$work/root" -cf "$work/root.tar" .
"$holm" import "$work/root.tar" order >/dev/null
# The first run of a data root makes its folders.
"$holm" run --rm --network none order true
gcc -O2 -o "$work/order" "$here/order.c"
"$work/order" "$work/visits" "$holm" run --rm --network none order true
{
    echo "# Functions in the order in which a start runs them; made by tools/order.sh, read by tools/ordered.sh."
    # Each visit goes to the symbol before it.
    {
        nm --defined-only "$holm" | awk '$2 ~ /^[tTwW]$/ { print $1, "a", $3 }'
        awk '{ print $1, "b", NR }' "$work/visits"
    } | LC_ALL=C sort | awk '$2 == "a" { name = $3 } $2 == "b" && name { print $3, name }' | sort -n | awk '!seen[$2]++ { print $2 }'
} >"$work/order.txt"
mv "$work/order.txt" "$here/order.txt"
wc -l "$here/order.txt"
