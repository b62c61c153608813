#!/bin/sh
# To a registry and back: by tag, and by digest, which always means the same bytes.
set -eu
registry=${REGISTRY:-localhost:5000}
name=$registry/team/tool
trap 'holm rmi -f "$name:1" >/dev/null 2>&1 || true' EXIT

holm tag alpine "$name:1"
digest=$(holm push "$name:1" | sed -n 's/.*digest: \([^ ]*\).*/\1/p')
holm rmi "$name:1" >/dev/null

holm run --rm --pull always "$name:1" echo "pulled by tag"
holm run --rm --pull always "$name@$digest" echo "pulled by digest"
holm rmi -f "$name@$digest" >/dev/null

# Of an image for several platforms, the one that fits this machine is taken; --platform asks for another.
holm pull -q --platform linux/arm64 "$registry/many:1" >/dev/null
holm image inspect --format 'another platform: {{.Architecture}}' "$registry/many:1"
holm rmi -f "$registry/many:1" >/dev/null
