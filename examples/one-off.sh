#!/bin/sh
# One-off commands that share a volume: what the first wrote is there for the second, though both containers are gone.
set -eu
trap 'holm volume rm -f notes >/dev/null' EXIT

# --rm removes the container at its end. The volume is made where it is missing.
holm run --rm -v notes:/notes alpine sh -c 'echo "remember the milk" >/notes/todo'
holm run --rm -v notes:/notes:ro alpine cat /notes/todo

# The exit code is the program's own.
holm run --rm alpine sh -c 'exit 7' || echo "ended with $?"

# Standard input goes in with -i.
echo "from a pipe" | holm run --rm -i alpine tr a-z A-Z
