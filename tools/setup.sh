#!/usr/bin/env bash
# Installs, by name, what is missing on a Debian or Ubuntu machine: `tools/setup.sh build|demo|test|bench`.
#
# Says what it installs and why. With everything in place it is one package query and no call to apt.
set -euo pipefail

purpose=${1:-build}
build=(gcc make pkg-config curl ca-certificates)
test=(busybox-static debootstrap lz4 skopeo podman runc crun docker-registry apache2-utils redis-tools redis-server
    nginx-light openssl zstd xz-utils strace umoci gzip util-linux iproute2 procps nftables iptables dnsutils
    dnsmasq-base iperf3 iputils-ping socat e2fsprogs erofs-utils qemu-system-x86 ovmf qemu-utils genisoimage
    containernetworking-plugins)
bench=(docker.io containerd conmon hyperfine dnsperf)

case $purpose in
build) want=("${build[@]}") ;;
demo) want=("${build[@]}" busybox-static qemu-system-x86) ;;
test) want=("${build[@]}" "${test[@]}") ;;
bench) want=("${build[@]}" "${test[@]}" "${bench[@]}") ;;
*)
    echo "usage: tools/setup.sh build|demo|test|bench" >&2
    exit 2
    ;;
esac

# No package that we install may start a service on the user's machine.
without_services() {
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=yes
    fi
    local status=0
    "$@" || status=$?
    [ -z "$made" ] || rm -f "$policy"
    return "$status"
}

install_packages() {
    local have missing=() name
    have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${want[@]}" 2>/dev/null || true)
    for name in "${want[@]}"; do
        grep -qx "installed $name" <<<"$have" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "error: missing for \`make $purpose\`: ${missing[*]}" >&2
        echo "hint: run as root, or: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing for \`make $purpose\`: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null || echo "setup: apt-get update failed; trying with the lists there are" >&2
    without_services apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# A kernel for the demonstration's virtual machines, unpacked below target/: none is installed. Without one the demonstration
# leaves machines out.
fetch_kernel() {
    local folder=${CARGO_TARGET_DIR:-target}/demo-kernel work package
    [ ! -d "$folder" ] || return 0
    work=$(mktemp -d)
    package=$(apt-cache depends --important linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
    if [ -n "$package" ] && (cd "$work" && apt-get download -q "$package" >/dev/null 2>&1) &&
        dpkg-deb -x "$work"/*.deb "$work/kernel"; then
        mkdir -p "$(dirname "$folder")"
        mv "$work/kernel" "$folder"
        echo "setup: unpacked $package into $folder for virtual machines"
    else
        echo "setup: no package linux-image-cloud-amd64 can be had: the demonstration leaves virtual machines out" >&2
    fi
    rm -rf "$work"
}

# The version that the workspace asks for, against the one there is.
rust_is_recent() {
    local want_version have_version
    command -v cargo >/dev/null || return 1
    want_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have_version=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$want_version" "$have_version" | sort -V | head -n 1)" = "$want_version" ]
}

install_rust() {
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if ! rust_is_recent; then
        echo "setup: installing Rust by rustup: no cargo as recent as Cargo.toml asks for"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y -q --no-modify-path --profile minimal --component rustfmt,clippy
    fi
    [ "$purpose" != test ] || cargo clippy --version >/dev/null 2>&1 || rustup component add clippy rustfmt
}

cd "$(dirname "$0")/.."
install_packages
install_rust
[ "$purpose" != demo ] || fetch_kernel
