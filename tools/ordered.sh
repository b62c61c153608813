#!/bin/sh
# Links as `cc` does, with the functions that a start runs side by side, in the order in which it first runs them.
#
# They are 1.4 of 9 MB. The kernel maps a program 64 KiB at a time, when they are touched, and each process of a start
# (the command, the supervisor, the container's process before it is one) touches its own: strewn over the file they cost
# 0.3 ms of page faults more. tools/order.txt names them; tools/order.sh makes it. A name that is not there any more is
# looked for without the hash at its end, and left out if there is still none: an old list costs time and breaks nothing.
set -eu
here=$(dirname "$0")
case " $* " in
*" -fuse-ld=lld "*) ;;
*) exec cc "$@" ;; # another linker has no such list
esac
list=$(mktemp)
trap 'rm -f "$list"' EXIT
for argument; do
    case $argument in
    *.o | *.rlib) printf '%s\n' "$argument" ;;
    esac
done | xargs nm --defined-only --format=posix 2>/dev/null | awk '
    function stem(name) { sub(/17h[0-9a-f]+E.*$/, "", name); return name }
    /^#/ { next }
    FILENAME != "-" { wanted[++count] = $1; next }
    $2 ~ /^[tTwW]$/ { there[$1]; of[stem($1)] = of[stem($1)] " " $1 }
    END {
        for (n = 1; n <= count; n++) {
            name = wanted[n]
            # What has no hash is of the C library.
            found = name in there || stem(name) == name ? name : of[stem(name)]
            parts = split(found, part, " ")
            for (p = 1; p <= parts; p++) print part[p]
        }
    }' "$here/order.txt" - >"$list"
cc "$@" "-Wl,--symbol-ordering-file=$list,--no-warn-symbol-ordering"
