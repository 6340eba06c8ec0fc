/* SPDX-License-Identifier: MIT */
#include "guard-cgroup.h"

#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <limits.h>

#include "fields.h"
#include "pressure.h"
#include "procfile.h"

/* memory.stat has about 50 lines of 40 bytes. */
#define STAT_SIZE 8192u

struct stat_bytes {
    uint64_t inactive_file;
    uint64_t file_dirty;
    uint64_t file_writeback;
};

static const struct field stat_fields[] = {
    { "inactive_file", offsetof(struct stat_bytes, inactive_file), false },
    { "file_dirty", offsetof(struct stat_bytes, file_dirty), false },
    { "file_writeback", offsetof(struct stat_bytes, file_writeback), false },
};

static const struct field event_fields[] = {
    { "high", 0, false },
};

int guard_line_parse(const char *text, uint64_t *ret)
{
    char word[GUARD_LINE_TEXT_MAX];
    guint64 value;

    if (snprintf(word, sizeof(word), "%s", text) >= (int)sizeof(word))
        return -EBADMSG;
    word[strcspn(word, " \n")] = '\0';
    if (streq(word, "max")) {
        *ret = GUARD_NO_LINE;
        return 0;
    }
    if (!g_ascii_string_to_unsigned(word, 10, 0, INT64_MAX, &value, NULL))
        return -EBADMSG;
    *ret = value;
    return 0;
}

const char *guard_line_format(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line)
{
    if (line == GUARD_NO_LINE)
        (void)snprintf(buf, GUARD_LINE_TEXT_MAX, "max");
    else
        (void)snprintf(buf, GUARD_LINE_TEXT_MAX, "%" PRIu64, line);
    return buf;
}

const char *guard_line_pad(char buf[static GUARD_LINE_TEXT_MAX], uint64_t line)
{
    char text[GUARD_LINE_TEXT_MAX];

    (void)snprintf(buf, GUARD_LINE_TEXT_MAX, "%-20s\n", guard_line_format(text, line));
    return buf;
}

void guard_cgroup_init(struct guard_cgroup *s, const char *name)
{
    *s = (struct guard_cgroup){
        .current = -EBADF,
        .stat = -EBADF,
        .events = -EBADF,
        .high = -EBADF,
        .pressure = -EBADF,
        .written = GUARD_NO_LINE,
        .limit = GUARD_NO_LINE,
    };
    (void)snprintf(s->name, sizeof(s->name), "%s", name);
}

void guard_cgroup_close(struct guard_cgroup *s)
{
    char name[GUARD_NAME_MAX + 1];

    closep(&s->current);
    closep(&s->stat);
    closep(&s->events);
    closep(&s->high);
    closep(&s->pressure);
    (void)memcpy(name, s->name, sizeof(name));
    guard_cgroup_init(s, name);
}

static int open_file(const char *root, const char *cgroup, const char *file, int flags, int *ret)
{
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s/%s", root, cgroup, file) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    /* O_NONBLOCK: kernels that honour it do not reclaim in a write of memory.high. */
    fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

int guard_cgroup_open(struct guard_cgroup *s, const char *root)
{
    uint64_t ignored;
    int r = open_file(root, s->name, "memory.current", O_RDONLY, &s->current);

    if (r >= 0)
        r = open_file(root, s->name, "memory.stat", O_RDONLY, &s->stat);
    /* Not memory.events: that one counts the limits of every cgroup below, too. */
    if (r >= 0)
        r = open_file(root, s->name, "memory.events.local", O_RDONLY, &s->events);
    if (r >= 0)
        r = open_file(root, s->name, "memory.high", O_RDWR, &s->high);
    if (r >= 0)
        r = guard_cgroup_breaches(s, &ignored);
    if (r < 0)
        guard_cgroup_close(s);
    return r;
}

static int read_fields(int fd, const struct field *table, size_t count, void *target)
{
    struct fields f = { table, count, target, 0 };
    char buf[STAT_SIZE];
    const char *text = buf;
    size_t len;
    int r = procfile_read_fd(fd, buf, sizeof(buf), &len);

    while (r >= 0 && *text != '\0') {
        const char *end = strchrnul(text, '\n'), *space = memchr(text, ' ', (size_t)(end - text));
        uint64_t value;

        if (!space)
            return -EBADMSG;
        len = (size_t)(space - text);
        text = space + 1;
        r = fields_number(&text, &value);
        if (r >= 0)
            r = fields_set(&f, space - len, len, value, 1);
        text = *end == '\n' ? end + 1 : end;
    }
    return r < 0 ? r : fields_complete(&f);
}

static int read_line(int fd, uint64_t *ret)
{
    char buf[64];
    size_t len;
    int r = procfile_read_fd(fd, buf, sizeof(buf), &len);

    return r < 0 ? r : guard_line_parse(buf, ret);
}

int guard_cgroup_breaches(struct guard_cgroup *s, uint64_t *ret)
{
    uint64_t count = 0;
    int r = read_fields(s->events, event_fields, ELEMENTSOF(event_fields), &count);

    if (r < 0)
        return r;
    *ret = sub_floor(count, s->breaches);
    s->breaches = count;
    return 0;
}

int guard_cgroup_read(struct guard_cgroup *s, bool clean, struct guard_cgroup_sample *ret)
{
    struct guard_cgroup_sample sample = { 0 };
    struct stat_bytes stat = { 0 };
    int r = read_line(s->current, &sample.usage), foreign = 0;

    if (r >= 0)
        r = read_line(s->high, &sample.line);
    if (r >= 0 && clean)
        r = read_fields(s->stat, stat_fields, ELEMENTSOF(stat_fields), &stat);
    if (r < 0)
        return r;
    if (!s->begun || sample.line != s->written) {
        foreign = !s->begun || sample.line != s->limit;
        s->limit = sample.line;
        s->written = GUARD_NO_LINE;
        s->begun = true;
    }
    sample.limit = s->limit;
    sample.clean = sub_floor(stat.inactive_file, stat.file_dirty + stat.file_writeback);
    *ret = sample;
    return foreign;
}

int guard_cgroup_pressure(struct guard_cgroup *s, const char *root, uint32_t *ret_some10)
{
    struct pressure p;
    char buf[256];
    size_t len;
    int r = s->pressure >= 0 ? 0 : open_file(root, s->name, "memory.pressure", O_RDONLY, &s->pressure);

    if (r >= 0)
        r = procfile_read_fd(s->pressure, buf, sizeof(buf), &len);
    if (r >= 0)
        r = pressure_parse(buf, &p);
    if (r >= 0)
        *ret_some10 = p.some.avg10;
    return r;
}

int guard_cgroup_write(struct guard_cgroup *s, uint64_t line)
{
    char text[GUARD_LINE_TEXT_MAX];

    guard_line_pad(text, line);
    /* The line is in force before the kernel begins to reclaim, so one that is cut short has done its work.
     */
    if (pwrite(s->high, text, strlen(text), 0) < 0 && errno != EINTR && errno != EAGAIN)
        return -errno;
    s->written = line == s->limit ? GUARD_NO_LINE : line;
    return 0;
}
