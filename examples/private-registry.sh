#!/bin/sh
# A registry with users: nothing without a password, and the password never on a command line.
set -eu
registry=${REGISTRY:-registry.example.com} user=${REGISTRY_USER:-me}
name=$registry/private/tool:1
trap 'holm rmi -f "$name" >/dev/null 2>&1 || true' EXIT
holm tag alpine "$name"

holm push "$name" >/dev/null 2>&1 || echo "refused without login"
printf %s "$REGISTRY_PASSWORD" | holm login -u "$user" --password-stdin "$registry"
holm push "$name" >/dev/null && echo "pushed"
holm logout "$registry" >/dev/null
holm pull "$name" >/dev/null 2>&1 || echo "refused after logout"
