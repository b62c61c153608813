#!/bin/sh
# An image from one machine to another without a registry. The other machine is a second pair of roots here.
set -eu
other=$(mktemp -d)
trap 'rm -rf "$other"' EXIT
there() { holm --data-root "$other/data" --run-root "$other/run" "$@"; }

# Over a pipe; `holm save … | ssh host holm load` is the same.
holm save alpine | there load -q
there run --rm --network none alpine echo "it runs there too"

# As an OCI layout, which skopeo, podman and umoci read.
holm save --format oci-archive -o "$other/image.tar" alpine
tar -tf "$other/image.tar" | grep -x oci-layout
