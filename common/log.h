/* SPDX-License-Identifier: MIT */
#pragma once

#include <syslog.h>
#include "macro.h"

/* Lines go to stderr; with the journal's or systemd's "<N>" prefix when stderr is the journal
 * (JOURNAL_STREAM). */
void log_open(const char *ident);
void log_set_max_level(int level); /* LOG_EMERG … LOG_DEBUG; default LOG_INFO */
int log_max_level(void);
/* What log_open() was told; "journal" or "console". */
const char *log_identifier(void);
const char *log_target(void);
/* syslog's names, "emerg" to "debug", or a number; -EINVAL. */
int log_level_from_string(const char *s);
const char *log_level_to_string(int level);
/* By number, NULL at the end. Configurations take those from LOG_ERR on. */
extern const char *const log_level_names[];

void log_line(int level, const char *format, ...) _printf_(2, 3);
#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* A fault that may come a thousand times is said once and counted: the first time, then with its count when
 * 60 s have gone by since it was last said. One struct for each kind of fault; zero-initialise. now in µs. */
struct log_repeat {
    uint64_t last;
    uint64_t suppressed;
    bool said;
};
void log_repeated(struct log_repeat *r, uint64_t now, int level, const char *format, ...) _printf_(4, 5);
/* The fault is over: the next one is said at once. Says how many were not said, if any. */
void log_repeat_end(struct log_repeat *r, int level, const char *what);
