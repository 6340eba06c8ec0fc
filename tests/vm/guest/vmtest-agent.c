/* SPDX-License-Identifier: MIT */

/* The rig's hand in the guest: runs commands that come over a virtio-serial port and sends back what they
 * say.
 *
 * Linked statically, locked in memory and never killed by the OOM killer, so that it answers in the middle of
 * a surge. A frame is one line "OP ID A B\n", followed by the payload bytes that the line announces.
 *
 *   from the rig     run ID SCRIPT-LENGTH STDIN-LENGTH   a script for /bin/sh, and its standard input
 *                    read ID PATH-LENGTH 0               the contents of a file, read without starting a
 * process kill ID SIGNAL 0                    to the command's process group hello ID 0 0 asks for "ready"
 *   from the agent   ready ID 0 LENGTH                   the boot id, and CLOCK_MONOTONIC in ns
 *                    pid ID PID 0                        the command was started
 *                    out ID 1|2 LENGTH                   its standard output or error
 *                    end ID STATUS LENGTH                exit status, or 128 + signal; the payload is a
 * remark
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COMMANDS_MAX 32
#define PAYLOAD_MAX (1U * 1024 * 1024)
#define OUTPUT_MAX (4U * 1024 * 1024) /* of one command; the rest is counted and dropped */
#define LINE_MAX_LENGTH 128
#define CHUNK (32U * 1024)
#define WRITE_TIMEOUT_MS 10000

struct command {
    unsigned id; /* 0: the slot is free */
    pid_t pid;
    int fds[2]; /* its standard output and error, -1 when closed */
    unsigned sent;
    uint64_t dropped;
};

struct frame {
    char op[16];
    unsigned id, a, b;
    char *payload; /* a + b bytes for run, a for read; owned by the reader */
};

static struct command commands[COMMANDS_MAX];
static char payload[PAYLOAD_MAX + 1];
static int port = -1;

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static ssize_t read_file(const char *path, char *buffer, size_t size)
{
    size_t length = 0;
    int fd, r = 0;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    while (length < size) {
        ssize_t n = read(fd, buffer + length, size - length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = -errno;
        if (n <= 0)
            break;
        length += (size_t)n;
    }
    close(fd);
    return r < 0 ? r : (ssize_t)length;
}

static int write_file(const char *path, const char *text)
{
    int fd, r = 0;

    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    close(fd);
    return r;
}

/* Gives the port up when the other side does not read for WRITE_TIMEOUT_MS or has gone. */
static void port_write(const char *data, size_t length)
{
    while (port >= 0 && length > 0) {
        struct pollfd p = { .fd = port, .events = POLLOUT };
        ssize_t n = write(port, data, length);

        if (n > 0) {
            data += n;
            length -= (size_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            goto give_up;
        if (poll(&p, 1, WRITE_TIMEOUT_MS) <= 0 || (p.revents & (POLLHUP | POLLERR)))
            goto give_up;
    }
    return;

give_up:
    close(port);
    port = -1;
}

static void send_frame(const char *op, unsigned id, unsigned a, const char *data, size_t length)
{
    char line[LINE_MAX_LENGTH];

    snprintf(line, sizeof(line), "%s %u %u %zu\n", op, id, a, length);
    port_write(line, strlen(line));
    port_write(data, length);
}

static void send_end(unsigned id, unsigned status, const char *remark)
{
    send_frame("end", id, status, remark, strlen(remark));
}

static void send_ready(unsigned id)
{
    char text[LINE_MAX_LENGTH], boot_id[40] = "";

    (void)read_file("/proc/sys/kernel/random/boot_id", boot_id, 36);
    snprintf(text, sizeof(text), "%s %llu", boot_id, (unsigned long long)now_ns());
    send_frame("ready", id, 0, text, strlen(text));
}

static struct command *find_command(unsigned id)
{
    for (size_t i = 0; i < COMMANDS_MAX; i++)
        if (commands[i].id == id)
            return &commands[i];
    return NULL;
}

/* In the child: gives back what makes the agent special, then becomes the shell. */
__attribute__((noreturn)) static void become_shell(const char *script, int in, int out, int err)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    (void)write_file("/proc/self/oom_score_adj", "0");
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", script, (char *)NULL);
    _exit(127);
}

static int make_stdin(const char *data, size_t length)
{
    int fd;

    if (length == 0) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }
    fd = memfd_create("stdin", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (write(fd, data, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0) {
        close(fd);
        return -EIO;
    }
    return fd;
}

static int start_command(struct command *c, const char *script, const char *data, size_t length)
{
    int in, out[2] = { -1, -1 }, err[2] = { -1, -1 }, r = 0;

    in = make_stdin(data, length);
    if (in < 0)
        return in;
    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
        r = -errno;
        goto out;
    }
    c->pid = fork();
    if (c->pid < 0) {
        r = -errno;
        goto out;
    }
    if (c->pid == 0)
        become_shell(script, in, out[1], err[1]);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    fcntl(err[0], F_SETFL, O_NONBLOCK);
    c->fds[0] = out[0];
    c->fds[1] = err[0];
    out[0] = err[0] = -1;

out:
    for (int i = 0; i < 2; i++) {
        if (out[i] >= 0)
            close(out[i]);
        if (err[i] >= 0)
            close(err[i]);
    }
    close(in);
    return r;
}

static void handle_run(const struct frame *f)
{
    struct command *c = find_command(0);
    int r;

    if (!c) {
        send_end(f->id, 126, "too many commands at once");
        return;
    }
    /* The script needs its own end: the input that follows it is moved up by one byte. */
    memmove(f->payload + f->a + 1, f->payload + f->a, f->b);
    f->payload[f->a] = '\0';
    *c = (struct command){ .fds = { -1, -1 } };
    r = start_command(c, f->payload, f->payload + f->a + 1, f->b);
    if (r < 0) {
        send_end(f->id, 126, strerror(-r));
        return;
    }
    c->id = f->id;
    send_frame("pid", f->id, (unsigned)c->pid, NULL, 0);
}

static void handle_read(const struct frame *f)
{
    ssize_t n;

    f->payload[f->a] = '\0';
    n = read_file(f->payload, payload, PAYLOAD_MAX);
    if (n < 0) {
        send_end(f->id, 1, strerror((int)-n));
        return;
    }
    send_frame("out", f->id, 1, payload, (size_t)n);
    send_end(f->id, 0, "");
}

static void handle_frame(const struct frame *f)
{
    struct command *c;

    if (strcmp(f->op, "run") == 0)
        handle_run(f);
    else if (strcmp(f->op, "read") == 0)
        handle_read(f);
    else if (strcmp(f->op, "hello") == 0)
        send_ready(f->id);
    else if (strcmp(f->op, "kill") == 0) {
        c = find_command(f->id);
        if (c)
            kill(-c->pid, (int)f->a);
    }
}

/* Reads exactly length bytes; the rig sends a frame in one go, so waiting for the rest of it is short. */
static int port_read(char *buffer, size_t length)
{
    while (length > 0) {
        struct pollfd p = { .fd = port, .events = POLLIN };
        ssize_t n = read(port, buffer, length);

        if (n > 0) {
            buffer += n;
            length -= (size_t)n;
            continue;
        }
        if (n == 0)
            return -EPIPE;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -errno;
        if (poll(&p, 1, WRITE_TIMEOUT_MS) <= 0 || (p.revents & (POLLHUP | POLLERR)))
            return -EPIPE;
    }
    return 0;
}

static int receive_frame(void)
{
    struct frame f = { .payload = payload };
    char line[LINE_MAX_LENGTH];
    size_t length = 0, size;
    int r;

    do {
        r = port_read(line + length, 1);
        if (r < 0)
            return r;
    } while (line[length++] != '\n' && length < sizeof(line) - 1);
    line[length] = '\0';
    if (sscanf(line, "%15s %u %u %u", f.op, &f.id, &f.a, &f.b) != 4)
        return 0; /* half a frame of a connection that ended: the next line starts afresh */

    if (strcmp(f.op, "kill") != 0) {
        size = (size_t)f.a + f.b;
        if (size >= PAYLOAD_MAX)
            return -EMSGSIZE;
        r = port_read(payload, size);
        if (r < 0)
            return r;
    }
    handle_frame(&f);
    return 0;
}

/* Passes on what one stream of a command says. Returns false at its end. */
static bool forward_output(struct command *c, int stream)
{
    char chunk[CHUNK];
    ssize_t n = read(c->fds[stream], chunk, sizeof(chunk));
    size_t room = OUTPUT_MAX - c->sent, length;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        close(c->fds[stream]);
        c->fds[stream] = -1;
        return false;
    }
    length = (size_t)n < room ? (size_t)n : room;
    if (length > 0)
        send_frame("out", c->id, (unsigned)stream + 1, chunk, length);
    c->sent += (unsigned)length;
    c->dropped += (size_t)n - length;
    return true;
}

/* A command has ended when its shell has: what it left running in the background may keep the pipes open. */
static void end_command(struct command *c, int wstatus)
{
    unsigned status = (unsigned)(WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 128 + WTERMSIG(wstatus));
    char remark[LINE_MAX_LENGTH] = "";

    for (int i = 0; i < 2; i++) {
        while (c->fds[i] >= 0 && forward_output(c, i))
            ;
        if (c->fds[i] >= 0)
            close(c->fds[i]);
    }
    if (c->dropped > 0)
        snprintf(remark, sizeof(remark), "%llu bytes of output dropped", (unsigned long long)c->dropped);
    send_end(c->id, status, remark);
    c->id = 0;
}

static void reap(int signals)
{
    struct signalfd_siginfo info;
    int wstatus;
    pid_t pid;

    while (read(signals, &info, sizeof(info)) > 0)
        ;
    while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0)
        for (size_t i = 0; i < COMMANDS_MAX; i++)
            if (commands[i].id != 0 && commands[i].pid == pid)
                end_command(&commands[i], wstatus);
}

static void loop_once(int signals)
{
    struct pollfd p[2 + 2 * COMMANDS_MAX] = { { .fd = signals, .events = POLLIN },
        { .fd = port, .events = POLLIN } };

    for (size_t i = 0; i < COMMANDS_MAX; i++)
        for (size_t j = 0; j < 2; j++)
            p[2 + 2 * i + j] = (struct pollfd){
                .fd = commands[i].id != 0 ? commands[i].fds[j] : -1,
                .events = POLLIN,
            };
    if (poll(p, 2 + 2 * COMMANDS_MAX, port < 0 ? 100 : -1) < 0)
        return;

    for (size_t i = 0; i < COMMANDS_MAX; i++)
        for (int j = 0; j < 2; j++)
            if (p[2 + 2 * i + (size_t)j].revents && commands[i].id != 0 && commands[i].fds[j] >= 0)
                (void)forward_output(&commands[i], j);
    if (p[0].revents)
        reap(signals);
    if (port < 0 || !p[1].revents)
        return;
    if (p[1].revents & POLLIN && receive_frame() >= 0)
        return;
    /* Nobody at the other end: the port says so for ever, so it is closed and looked at again later. */
    close(port);
    port = -1;
    poll(NULL, 0, 100);
}

/* The port's device, found in sysfs: the agent runs before udev makes /dev/virtio-ports. */
static int find_port(const char *name, char *ret_path, size_t size)
{
    glob_t found;
    int r = -ENOENT;

    if (glob("/sys/class/virtio-ports/*/name", GLOB_NOSORT, NULL, &found) != 0)
        return -ENOENT;
    for (size_t i = 0; i < found.gl_pathc && r < 0; i++) {
        char text[LINE_MAX_LENGTH] = "";
        const char *device = found.gl_pathv[i] + strlen("/sys/class/virtio-ports/");

        if (read_file(found.gl_pathv[i], text, sizeof(text) - 1) <= 0)
            continue;
        text[strcspn(text, "\n")] = '\0';
        if (strcmp(text, name) != 0)
            continue;
        snprintf(ret_path, size, "/dev/%.*s", (int)strcspn(device, "/"), device);
        r = 0;
    }
    globfree(&found);
    return r;
}

static void open_port(const char *name)
{
    struct pollfd p = { .events = POLLIN };
    char path[LINE_MAX_LENGTH];

    if (find_port(name, path, sizeof(path)) < 0)
        return;
    port = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (port < 0)
        return;
    p.fd = port;
    if (poll(&p, 1, 0) > 0 && (p.revents & POLLHUP)) {
        close(port);
        port = -1;
        return;
    }
    send_ready(0);
}

int main(int argc, char **argv)
{
    sigset_t chld;
    int signals;

    if (argc != 2) {
        fprintf(stderr, "Usage: vmtest-agent PORT-NAME\n");
        return 2;
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
        fprintf(stderr, "vmtest-agent: mlockall: %m\n");
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    signals = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        fprintf(stderr, "vmtest-agent: signalfd: %m\n");
        return 1;
    }
    for (;;) {
        if (port < 0)
            open_port(argv[1]);
        loop_once(signals);
    }
}
