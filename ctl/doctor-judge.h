/* SPDX-License-Identifier: MIT */
#pragma once

#include "macro.h"

/* What doctor makes of a machine: pure, the facts are gathered by doctor-probe. */

struct doctor_unit {
    bool known;       /* systemd has told */
    bool loaded;      /* there is such a unit */
    char active[24];  /* active, failed, inactive … */
    char enabled[24]; /* enabled, disabled, static … */
};

struct doctor_facts {
    bool host; /* a machine that serves VMs, no guest: only the host's checks apply */

    char kernel[72];         /* as uname -r */
    int psi;                 /* 0: /proc/pressure/memory was read; else a negative errno */
    int trigger;             /* 0: a trigger could be set; else a negative errno; -EPERM: only root may try */
    uint64_t trigger_window; /* µs, the shortest tried that the kernel took */
    bool driver;             /* virtio_mem is there */
    unsigned devices;        /* that it drives */
    char online_blocks[24];  /* auto_online_blocks; empty: cannot be read */
    bool port;               /* the channel's */
    bool vsock;              /* a device of it; loopback alone leads nowhere */
    bool cgroup2;            /* with the memory controller */
    int saved_limits;        /* 0: some were set to stay; -ENOENT: none; else they cannot be read */
    uint64_t saved_min;      /* bytes */
    uint64_t saved_max;      /* UINT64_MAX: the host's alone */

    bool bus;
    bool actuator, monitor; /* they are on the bus */
    bool host_connected;
    bool polkit;         /* on the bus, or started when asked */
    bool polkit_actions; /* ours are installed */
    struct doctor_unit actuator_unit, monitor_unit, host_unit;
    bool host_conf;
    bool landlord;     /* the host's daemon is on the bus */
    bool host_actions; /* its actions are installed */
};

enum doctor_verdict {
    DOCTOR_OK,
    DOCTOR_UNKNOWN, /* could not be looked at */
    DOCTOR_WARNING, /* works, with less */
    DOCTOR_FAULT,   /* does not work */
    _DOCTOR_VERDICT_MAX,
    _DOCTOR_VERDICT_INVALID = -EINVAL,
};
const char *doctor_verdict_to_string(enum doctor_verdict v);

#define DOCTOR_CHECKS_MAX 16u
#define DOCTOR_TEXT_MAX 160u

struct doctor_check {
    const char *name;
    enum doctor_verdict verdict;
    char text[DOCTOR_TEXT_MAX];
    const char *remedy; /* NULL when there is nothing to mend */
};

struct doctor_report {
    struct doctor_check checks[DOCTOR_CHECKS_MAX];
    size_t n;
};

void doctor_judge(const struct doctor_facts *f, struct doctor_report *ret);
unsigned doctor_count(const struct doctor_report *r, enum doctor_verdict v);
