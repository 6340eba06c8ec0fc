/* SPDX-License-Identifier: MIT */
#pragma once

#include "verbs.h"

/* How many decisions explain shows unless told; the monitor keeps 64. */
#define EXPLAIN_COUNT 5u

/* Bounds of the daemons' own, told here before anybody is asked. */
#define WHY_MAX 127u

struct ctl_options {
    enum verb verb;
    bool all_of_host; /* host, and no verb after it */
    bool json;
    bool ask_password;
    char *bus;     /* NULL: the system bus */
    char *vm;      /* NULL: not said */
    uint64_t size; /* bytes */
    uint32_t weight;
    uint64_t min; /* 0: none; UINT64_MAX: not said */
    uint64_t max; /* 0: the host's alone; UINT64_MAX: not said */
    bool persist;
    bool reset;       /* min and max are not said then */
    char *why;        /* NULL: not said */
    uint32_t count;   /* 0: not said */
    uint32_t seconds; /* 0: until resumed */
    char *root;       /* where doctor looks; NULL: / */
    char **command;   /* NULL: none */
};

/* Reads the command line, which stays as it is. 0: *ret is filled, options_clear() it. 1: *ret_text is what
 * was asked to be printed (--help, --version). -EINVAL: *ret_text says what is wrong. g_free() the text. */
int options_parse(char **argv, struct ctl_options *ret, char **ret_text);
void options_clear(struct ctl_options *o);
