/* SPDX-License-Identifier: MIT */
#include "agent.h"

#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "macro.h"

#define AGENT "pkttyagent"
#define START_MSEC 5000

static _Noreturn void run_agent(const char *path, int notify_fd, pid_t parent)
{
    char fd[16];

    /* It has nothing to ask when the one who waits for the answer has gone. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent) {
        (void)snprintf(fd, sizeof(fd), "%d", notify_fd);
        (void)fcntl(notify_fd, F_SETFD, 0);
        execl(path, AGENT, "--notify-fd", fd, "--fallback", NULL);
    }
    _exit(127);
}

int agent_start(pid_t *ret_pid)
{
    _cleanup_close_ int mine = -EBADF, its = -EBADF;
    g_autofree char *path = NULL;
    pid_t pid, parent = getpid();
    int pair[2];

    *ret_pid = 0;
    if (geteuid() == 0 || !isatty(STDIN_FILENO))
        return 0;
    path = g_find_program_in_path(AGENT);
    if (!path)
        return -ENOENT;
    if (pipe2(pair, O_CLOEXEC) < 0)
        return -errno;
    mine = pair[0];
    its = pair[1];
    pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        run_agent(path, its, parent);
    /* It closes its end when it is registered, or when it ends. */
    close(TAKE_FD(its));
    (void)poll(&(struct pollfd){ .fd = mine, .events = POLLIN }, 1, START_MSEC);
    *ret_pid = pid;
    return 0;
}

void agent_stop(pid_t pid)
{
    if (pid <= 0)
        return;
    /* It may be stopped, as a background process that reads from the terminal. */
    (void)kill(pid, SIGTERM);
    (void)kill(pid, SIGCONT);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
