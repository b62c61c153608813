#!/bin/sh
# A health check, and a policy that starts what failed again.
set -eu
trap 'holm rm -f checked stubborn >/dev/null' EXIT

# Checked every 100 ms; healthy as soon as one check succeeds.
holm run -d --name checked --health-cmd 'test -e /ready' --health-interval 100ms alpine \
    sh -c 'touch /ready; exec sleep 1000' >/dev/null
until [ "$(holm inspect --format '{{.State.Health.Status}}' checked)" = healthy ]; do sleep 0.1; done
holm ps --filter health=healthy --format '{{.Names}} is healthy'

# Started again until it succeeds, five times at most. The count is kept in a file of its own.
holm run -d --name stubborn --restart on-failure:5 alpine \
    sh -c 'echo x >>/tries; [ "$(wc -l </tries)" -ge 3 ]' >/dev/null
until [ "$(holm inspect --format '{{.State.Status}}' stubborn)" = exited ]; do sleep 0.1; done
holm inspect --format 'ended with {{.State.ExitCode}} after {{.RestartCount}} restarts' stubborn
