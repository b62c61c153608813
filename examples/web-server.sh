#!/bin/sh
# A web server in the background, on the host's network: start, ask, look at its log, stop.
set -eu
port=${PORT:-8080}
site=$(mktemp -d)
trap 'holm rm -f web >/dev/null; rm -rf "$site"' EXIT
echo "hello from holm" >"$site/index.html"

# -d gives the command back at once; a folder of the host is shown read-only.
holm run -d --name web --network host -v "$site:/www:ro" alpine \
    httpd -f -v -p "127.0.0.1:$port" -h /www >/dev/null

# exec waits for the server and asks it from inside.
holm exec web sh -c "until wget -qO- http://127.0.0.1:$port/; do sleep 0.1; done 2>/dev/null"

holm ps --format '{{.Names}} {{.State}}'
# The server logs to its error output.
holm logs web 2>&1 | grep -o 'response:200' | head -n 1
