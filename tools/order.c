/* `order OUT COMMAND…` runs a command one instruction at a time, with all processes that it makes, and writes the addresses below
   16 MiB at which they were, each once, in the order of the first visit: where a program with fixed addresses is. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT = 1 << 24 };
static unsigned char seen[LIMIT];

static void note(pid_t pid, FILE *out) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0 && registers.rip < LIMIT && !seen[registers.rip]) {
        seen[registers.rip] = 1;
        fprintf(out, "%016llx\n", registers.rip);
    }
}

int main(int count, char **args) {
    if (count < 3)
        return 2;
    FILE *out = fopen(args[1], "w");
    pid_t first = fork();
    if (out == NULL || first < 0)
        return 1;
    if (first == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        execvp(args[2], args + 2);
        _exit(127);
    }
    int status, result = 1;
    waitpid(first, &status, 0);
    const long what = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    ptrace(PTRACE_SETOPTIONS, first, 0, what);
    ptrace(PTRACE_SINGLESTEP, first, 0, 0);
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0;) {
        if (!WIFSTOPPED(status)) {
            if (pid == first)
                result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
            continue;
        }
        int number = WSTOPSIG(status);
        if (number == SIGTRAP && status >> 16 == 0)
            note(pid, out);
        /* The stops are ours, other signals are for the process. */
        ptrace(PTRACE_SINGLESTEP, pid, 0, number == SIGTRAP || number == SIGSTOP ? 0 : number);
    }
    return fclose(out) == 0 ? result : 1;
}
