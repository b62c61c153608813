#!/usr/bin/env bash
# A container from an image made on the spot, and what it cost. Touches nothing outside a temporary folder.
#
# `make demo` builds and runs it; HOLM names another binary.
set -euo pipefail

# Bridges and rules are made in a network namespace of the demo's own, where the machine's network is not touched.
if [ -z "${HOLM_DEMO_INSIDE:-}" ]; then
    exec env HOLM_DEMO_INSIDE=yes unshare --net sh -c '/bin/busybox ip link set lo up; exec "$0" "$@"' "$0" "$@"
fi

holm_binary=$(realpath "${HOLM:-target/release/holm}")
kernel=${HOLM_KERNEL:-$(realpath -q "${CARGO_TARGET_DIR:-target}/demo-kernel" || true)}
home=$(mktemp -d /tmp/holm-demo.XXXXXX)
export HOLM_DATA_ROOT=$home/data HOLM_RUN_ROOT=$home/run
ln -s "$holm_binary" "$home/holm"
export PATH=$home:$PATH
group=$(basename "$home" | tr . -)

clean_up() {
    holm rm -f web limited shop db >/dev/null 2>&1 || true
    local folder
    for folder in /sys/fs/cgroup/*/"$group" /sys/fs/cgroup/"$group"; do
        if [ -d "$folder" ]; then rmdir "$folder" 2>/dev/null || true; fi
    done
    # The networks go a second after their last container; they keep their folder until then.
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        if [ -z "$(ls -A "$home/run/network/live" 2>/dev/null)" ] && [ ! -e "$home/run/network/keeper/socket" ]; then break; fi
        sleep 0.05
    done
    rm -rf "$home"
}
trap clean_up EXIT

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() {
    printf '  $ %s\n' "$*"
    eval "$*" 2>&1 | sed 's/^/    /'
}

# A root with busybox, a name for each of its programs, and two users.
make_root() {
    local root=$home/root applet
    mkdir -p "$root"/{bin,dev,etc,proc,root,sys,tmp}
    cp /bin/busybox "$root/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    printf 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n' >"$root/etc/passwd"
    printf 'root:x:0:\napp:x:1000:\n' >"$root/etc/group"
    tar -C "$root" -cf "$home/root.tar" .
}

# Milliseconds of one command, the median of this many runs.
median_ms() {
    local count=$1 at begin end
    shift
    for ((at = 0; at < count; at++)); do
        begin=$(date +%s%N)
        "$@" >/dev/null
        end=$(date +%s%N)
        echo $(((end - begin) / 10000))
    done | sort -n | sed -n "$((count / 2 + 1))p" | sed 's/^\(.*\)\(..\)$/\1.\2/; s/^\./0./'
}

say "An image, from a tar of a root"
make_root
show "holm import --change 'CMD [\"sh\"]' $home/root.tar demo:1 | cut -c1-19"
show "holm images"

say "A container: its own PID 1, host name, users and files"
show "holm run --rm demo:1 sh -c 'echo \"PID \$\$ on \$(hostname), \$(ls /proc | grep -c \"^[0-9]\") processes\"; id'"
show "holm run --rm -u app --read-only demo:1 sh -c 'id -un; touch /x || true'"

say "Its limits, as the kernel keeps them, and what happens at them"
show "holm run -d --name limited --cgroup-parent /$group --memory 32m --memory-swap 32m --cpus 0.5 --pids-limit 20 demo:1 sh -c 'echo eating; tail /dev/zero' | cut -c1-12"
show "holm wait limited"
show "holm inspect --format 'OOM killed: {{.State.OOMKilled}}, exit code {{.State.ExitCode}}, limit {{.HostConfig.Memory}} bytes, {{.HostConfig.NanoCpus}} nano-CPUs, {{.HostConfig.PidsLimit}} processes' limited"

say "A service in the background: logs, one more process in it, what it uses, a stop"
show "holm run -d --name web --cgroup-parent /$group demo:1 sh -c 'trap \"echo bye; exit 0\" TERM; echo up; while :; do sleep 0.1; done' | cut -c1-12"
show "holm ps"
show "holm exec web ps -o pid,user,args"
show "holm stats --no-stream web"

supervisor_kib=unknown
init=$(holm inspect --format '{{.State.Pid}}' web)
supervisor=$(ps -o ppid= -p "$init" | tr -d ' ')
if [ -r "/proc/$supervisor/smaps_rollup" ]; then
    supervisor_kib=$(awk '/^Pss:/ {print $2}' "/proc/$supervisor/smaps_rollup")
fi
show "holm stop web"
show "holm logs -t web"
show "holm rm web limited"

say "Two networks: who reaches whom, and why not"
show "holm network create blue | cut -c1-12; holm network create red | cut -c1-12"
show "holm run -d --name shop --network blue -p 127.0.0.1:8080:80 --cgroup-parent /$group demo:1 sh -c 'mkdir /www; echo open > /www/index.html; exec httpd -f -p 80 -h /www' | cut -c1-12"
show "holm run -d --name db --network red --cgroup-parent /$group demo:1 sleep 1000 | cut -c1-12"
show "holm network ls"
show "holm run --rm --network blue --cgroup-parent /$group demo:1 ping -c 1 -W 2 shop | head -n 2"
show "holm run --rm --network red --cgroup-parent /$group demo:1 ping -c 1 -W 2 shop || true"
show "holm network ports"
show "holm network path db shop:80 || true"
show "holm network connect red shop"
show "holm network path db shop:80"
show "holm rm -f shop db; holm network rm blue red"

say "What it cost"
run_ms=$(median_ms 21 holm run --rm --network none --cgroup-parent "/$group" demo:1 true)
printf '  %-46s %s ms (median of 21)\n' "holm run --rm demo:1 true, start to end" "$run_ms"
printf '  %-46s %s KiB\n' "memory of what stays with a container (PSS)" "$supervisor_kib"
printf '  %-46s %s\n' "processes of Holm's still running" "$(pgrep -c -f "$home" || true)"

# A comparison names its containers itself; the settings put them into the same control group.
if [ -e "$kernel" ] && command -v qemu-system-x86_64 >/dev/null; then
    export HOLM_KERNEL=$kernel HOLM_CGROUP_PARENT=/$group
    say "The same image as a virtual machine, with a kernel of its own"
    show "holm run --rm --network none demo:1 uname -r"
    show "holm run --rm --network none --isolation vm demo:1 uname -r"
    say "Both ways, side by side"
    show "holm compare --runs 1 demo:1"
else
    say "Without QEMU and a kernel there are no virtual machines here"
    show "holm doctor --isolation vm || true"
fi
