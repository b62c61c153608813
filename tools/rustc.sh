#!/bin/sh
# Stands between cargo and rustc: links the program `holm`, and nothing else, as a static binary without relocations.
#
# Cargo has flags per target and per profile, none per binary, and a target-wide `crt-static` forbids procedural macros.
# Static because it starts a millisecond sooner and runs in any root; fixed addresses because there is nothing to relocate.
rustc=$1
shift
# On x86-64 it starts at an entry of its own (crates/sys/src/entry.rs), which may execute it again. Optimised builds only:
# the checks of a debug build call what is not set up that early. There the linker is ordered.sh, which says what for.
case "$(uname -m) $* " in
x86_64*" --crate-name holm "*" --crate-type bin "*" opt-level=3 "*)
    exec "$rustc" "$@" -C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,-e,holm_entry,-u,holm_entry \
        -C linker="$(dirname "$0")/ordered.sh"
    ;;
x86_64*" --crate-name holm "*" --crate-type bin "* | aarch64*" --crate-name holm "*" --crate-type bin "*)
    exec "$rustc" "$@" -C target-feature=+crt-static -C relocation-model=static
    ;;
esac
exec "$rustc" "$@"
