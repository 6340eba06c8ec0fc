/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "log.h"

static sigset_t ends(void)
{
    static const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD };
    sigset_t mask;

    (void)sigemptyset(&mask);
    for (size_t i = 0; i < ELEMENTSOF(signals); i++)
        (void)sigaddset(&mask, signals[i]);
    return mask;
}

static _Noreturn void run_child(char **command, const sigset_t *mask, pid_t parent)
{
    int error;

    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    if (getppid() != parent)
        _exit(128 + SIGTERM);
    (void)execvp(command[0], command);
    error = errno;
    log_error("%s: %s", command[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126);
}

static int wait_for(pid_t pid, const sigset_t *mask)
{
    int status, sig;

    for (;;) {
        if (sigwait(mask, &sig) != 0)
            continue;
        if (sig == SIGTERM || sig == SIGHUP)
            (void)kill(pid, sig);
        if (sig == SIGCHLD && waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

int command_run(char **command)
{
    sigset_t mask = ends(), old;
    pid_t pid, parent = getpid();

    /* Before the fork, so that no end is missed; whoever started us may have them ignored. */
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_BLOCK, &mask, &old);
    pid = fork();
    if (pid == 0)
        run_child(command, &old, parent);
    if (pid < 0) {
        log_error("%s cannot be started: %s", command[0], strerror(errno));
        return 126;
    }
    return wait_for(pid, &mask);
}

void command_wait_for_signal(void)
{
    sigset_t mask = ends();
    int sig;

    (void)sigdelset(&mask, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &mask, NULL);
    (void)sigwait(&mask, &sig);
}
