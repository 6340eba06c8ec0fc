/* SPDX-License-Identifier: MIT */
#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "text.h"

#define LINE_MAX_BYTES 2048
#define REPEAT_USEC (60 * USEC_PER_SEC)

static const char *log_ident = "vmtide";
static int max_level = LOG_INFO;
static bool to_journal;

/* systemd names the device and inode of the stream that it gave us: is stderr still that one? */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *ident)
{
    log_ident = ident;
    to_journal = stderr_is_journal();
}

void log_set_max_level(int level)
{
    max_level = level;
}

int log_max_level(void)
{
    return max_level;
}

const char *log_identifier(void)
{
    return log_ident;
}

const char *log_target(void)
{
    return to_journal ? "journal" : "console";
}

const char *const log_level_names[] = {
    [LOG_EMERG] = "emerg",
    [LOG_ALERT] = "alert",
    [LOG_CRIT] = "crit",
    [LOG_ERR] = "err",
    [LOG_WARNING] = "warning",
    [LOG_NOTICE] = "notice",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
    NULL,
};

int log_level_from_string(const char *s)
{
    for (int i = LOG_EMERG; i <= LOG_DEBUG; i++)
        if (streq(log_level_names[i], s) || (s[0] == '0' + i && s[1] == '\0'))
            return i;
    return -EINVAL;
}

const char *log_level_to_string(int level)
{
    return level >= LOG_EMERG && level <= LOG_DEBUG ? log_level_names[level] : NULL;
}

/* One write() for a line, so that lines of several processes do not mix. What comes from a peer must not
 * forge lines. */
static void log_linev(int level, const char *format, va_list ap) _printf_(2, 0);
static void log_linev(int level, const char *format, va_list ap)
{
    char line[LINE_MAX_BYTES];
    int head = to_journal ? snprintf(line, sizeof(line), "<%d>", level)
                          : snprintf(line, sizeof(line), "%s: ", log_ident);
    int body;
    size_t len;

    if (head < 0)
        return;
    body = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, ap);
    if (body < 0)
        return;
    text_mask(line + head);
    len = strlen(line);
    line[len++] = '\n';
    while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
        ;
}

void log_line(int level, const char *format, ...)
{
    va_list ap;

    if (level > max_level)
        return;
    va_start(ap, format);
    log_linev(level, format, ap);
    va_end(ap);
}

void log_repeated(struct log_repeat *r, uint64_t now, int level, const char *format, ...)
{
    char text[LINE_MAX_BYTES - 128];
    va_list ap;

    if (r->said && now >= r->last && now - r->last < REPEAT_USEC) {
        r->suppressed++;
        return;
    }
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (r->suppressed > 0)
        log_line(level, "%s (and %" PRIu64 " times more since it was last said)", text, r->suppressed);
    else
        log_line(level, "%s", text);
    *r = (struct log_repeat){ .last = now, .said = true };
}

void log_repeat_end(struct log_repeat *r, int level, const char *what)
{
    if (r->suppressed > 0)
        log_line(level, "%s: over; %" PRIu64 " were not said", what, r->suppressed);
    *r = (struct log_repeat){ 0 };
}
