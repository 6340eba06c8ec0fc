/* SPDX-License-Identifier: MIT */
#pragma once

#include "guard-strain.h"
#include "guard.h"

/* The files of one top-level cgroup. They stay open: opening needs memory just when there is none. */
struct guard_cgroup {
    char name[GUARD_NAME_MAX + 1];
    int current;
    int stat;
    int events;
    int high;
    int pressure;         /* opened when it is read first */
    uint64_t breaches;    /* as counted by the kernel; the last one seen */
    uint64_t written;     /* the line that we set; GUARD_NO_LINE: none of ours stands */
    uint64_t limit;       /* the administrator's */
    uint64_t breached_at; /* µs; 0: not */
    uint64_t last_usage;  /* at the last look */
    bool begun;           /* limit is known */
    bool excluded;        /* by the configuration; kept only until our line is taken back */
    struct guard_strain strain;
};

/* A closed one. */
void guard_cgroup_init(struct guard_cgroup *s, const char *name);
/* root: where the unified hierarchy is. -ENOENT: no such cgroup, or no memory controller in it (yet). */
int guard_cgroup_open(struct guard_cgroup *s, const char *root);
void guard_cgroup_close(struct guard_cgroup *s);
static inline bool guard_cgroup_is_open(const struct guard_cgroup *s)
{
    return s->high >= 0;
}

/* Does a line of ours stand, below the administrator's? */
static inline bool guard_cgroup_is_ours(const struct guard_cgroup *s)
{
    return s->written != GUARD_NO_LINE;
}

/* The fd to poll for POLLPRI. Negative while the administrator's own line stands: the guard ignores crossings
 * of it. */
static inline int guard_cgroup_watch_fd(const struct guard_cgroup *s)
{
    return guard_cgroup_is_ours(s) ? s->events : -EBADF;
}

/* Reads what the plan needs. clean also asks for memory.stat, which costs more than all other files. Returns
 * 1 when the administrator or systemd has written memory.high since: that value becomes the limit. Returns
 * -ENODEV when the cgroup was removed. */
int guard_cgroup_read(struct guard_cgroup *s, bool clean, struct guard_cgroup_sample *ret);

/* Share of the last 10 s in which some task of it waited for memory, permyriad. */
int guard_cgroup_pressure(struct guard_cgroup *s, const char *root, uint32_t *ret_some10);

/* How often the line was breached since the last call. */
int guard_cgroup_breaches(struct guard_cgroup *s, uint64_t *ret);

/* May wait while the kernel reclaims what is above the line, until a signal comes; that is no error. */
int guard_cgroup_write(struct guard_cgroup *s, uint64_t line);

/* "max" or a number of bytes, as memory.high has it. */
int guard_line_parse(const char *text, uint64_t *ret);
#define GUARD_LINE_TEXT_MAX 24u
const char *guard_line_format(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line);
/* The same to be written: of one length, so that nothing of an older one stays where a plain file stands in
 * for the kernel's, which strips the spaces. */
const char *guard_line_pad(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line);
