#!/bin/sh
# How much a container may use, and what happens at the limit.
set -eu
trap 'holm rm -f hog calm >/dev/null' EXIT

# A program that takes more memory than it may have is killed, and the record says why.
holm run --name hog --memory 16m --memory-swap 16m alpine tail /dev/zero || echo "killed with $?"
holm inspect --format 'out of memory: {{.State.OOMKilled}}' hog

# Limits of a running container can be changed.
holm run -d --name calm --cpus 0.5 --pids-limit 20 alpine sleep 1000 >/dev/null
holm update --cpus 1.5 --memory 64m --memory-swap 64m calm >/dev/null
holm inspect --format '{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}' calm

# No network, no capabilities, nothing to write: for programs that are not trusted.
holm run --rm --network none --cap-drop ALL --read-only alpine sh -c 'touch /x 2>/dev/null || echo "read-only"'
