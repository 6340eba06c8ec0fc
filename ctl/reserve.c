/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <glib.h>

#include "bytes.h"
#include "command.h"
#include "log.h"
#include "run.h"

/* The actuator's bound. */
#define WHO_MAX 63u

/* The command's name, or our own. */
static char *who(const struct ctl_options *o)
{
    g_autofree char *name = o->command ? g_path_get_basename(o->command[0]) : g_strdup("vmtidectl");
    g_autofree char *valid = g_utf8_make_valid(name, -1);
    char *end = valid;

    for (char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        if ((size_t)(g_utf8_next_char(p) - valid) > WHO_MAX)
            break;
        if (!g_unichar_isprint(g_utf8_get_char(p)))
            *p = '?';
        end = g_utf8_next_char(p);
    }
    return g_strndup(valid, (size_t)(end - valid));
}

/* A descriptor of our own, which the command does not get: the reservation is as long as vmtidectl is. */
static int reserve(struct client *c, const struct ctl_options *o, int *ret_fd)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    g_autofree char *name = who(o);
    int fd, r = client_act(c, &client_actuator, "Reserve", &reply, "tss", o->size, name, o->why ?: "");

    if (r < 0)
        return r;
    r = sd_bus_message_read(reply, "h", &fd);
    if (r >= 0) {
        *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        r = *ret_fd < 0 ? -errno : 0;
    }
    return r < 0 ? client_fail("Reserve", r, NULL) : 0;
}

int run_reserve(struct client *c, const struct ctl_options *o)
{
    _cleanup_close_ int fd = -EBADF;
    int r = reserve(c, o, &fd);

    if (r < 0)
        return r;
    /* Nobody reads the bus from here on. */
    client_close(c);
    if (o->command)
        return command_run(o->command);
    (void)printf("%s reserved; Ctrl-C ends it\n", FORMAT_BYTES(o->size));
    (void)fflush(stdout);
    command_wait_for_signal();
    return FAULT_NONE;
}
