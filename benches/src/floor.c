/* The kernel's own price of a container: `floor ROOT WORK` makes namespaces, an overlay of ROOT with WORK/upper, /proc,
   /dev, /sys, a seccomp filter and an empty capability set, runs /bin/true in it and waits. No images, no limits, no
   records, no logs, no supervisor: what a runtime adds to this figure is its own doing. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(long result, const char *what) {
    if (result < 0) {
        perror(what);
        _exit(99);
    }
}

static void mount_basics(void) {
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0},
    };
    must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
    must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"), "dev");
    must(mkdir("dev/pts", 0755), "mkdir pts");
    must(mkdir("dev/shm", 01777), "mkdir shm");
    must(mkdir("dev/mqueue", 0755), "mkdir mqueue");
    must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"), "pts");
    must(mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=65536k"), "shm");
    must(mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mqueue");
    must(mount("sysfs", "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL), "sys");
    umask(0);
    for (size_t at = 0; at < sizeof nodes / sizeof *nodes; at++)
        must(mknod(nodes[at].name, S_IFCHR | 0666, makedev(nodes[at].major, nodes[at].minor)), "mknod");
}

/* A filter as long as a default profile: a chain of comparisons that all miss. */
static void confine(void) {
    static struct sock_filter code[402];
    size_t length = 0;
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    while (length < 401) {
        code[length] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 5000 + length, 0, 0);
        length++;
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = length, .filter = code};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    must(syscall(SYS_capset, &header, none), "capset");
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
}

static void child(const char *root, const char *work) {
    char options[3000];
    must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", root, work, work);
    must(chdir(work), "chdir");
    must(mount("overlay", "merged", "overlay", 0, options), "overlay");
    must(chdir("merged"), "chdir");
    mount_basics();
    must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(umount2(".", MNT_DETACH), "umount");
    must(chdir("/"), "chdir");
    must(sethostname("floor", 5), "hostname");
    confine();
    execl("/bin/true", "true", (char *)NULL);
    _exit(98);
}

int main(int count, char **args) {
    if (count != 3)
        return 2;
    struct clone_args how = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    long pid = syscall(SYS_clone3, &how, sizeof how);
    must(pid, "clone3");
    if (pid == 0)
        child(args[1], args[2]);
    int status = 0;
    must(waitpid((pid_t)pid, &status, 0), "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
}
