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

/* What memory settings and mounts mean for a VM whose memory grows; judged in doctor-memory.c. */
#define DOCTOR_NAMES_MAX 96u
struct doctor_memory {
    bool sizes; /* the actuator has told the next three */
    uint64_t boot_size;
    uint64_t size;
    uint64_t max_size;              /* 0: none is known */
    int overcommit;                 /* 0, 1 or 2 of vm.overcommit_memory, or a negative errno */
    uint64_t limit;                 /* CommitLimit */
    int zones;                      /* 0: zoneinfo was read; else a negative errno */
    uint64_t movable;               /* managed memory of ZONE_MOVABLE */
    uint64_t reserve;               /* of the kernel zones, kept from user pages */
    char tmpfs[DOCTOR_NAMES_MAX];   /* "/dev/shm 480M, /run 96M"; empty: none was found */
    char full[DOCTOR_NAMES_MAX];    /* those of them that are nearly full */
    char limited[DOCTOR_NAMES_MAX]; /* "kubepods 900M": cgroups with a memory.max below boot and max size */
    unsigned root_processes;        /* user processes in the root cgroup */
    char root_names[DOCTOR_NAMES_MAX];
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
    struct doctor_memory memory;
    int saved_limits;   /* 0: some were set to stay; -ENOENT: none; else they cannot be read */
    uint64_t saved_min; /* bytes */
    uint64_t saved_max; /* UINT64_MAX: the host's alone */

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

#define DOCTOR_CHECKS_MAX 24u
#define DOCTOR_TEXT_MAX 256u

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

/* remedy is a constant; it is dropped from a check that is ok. */
void doctor_add(struct doctor_report *r, const char *name, enum doctor_verdict verdict, const char *remedy,
        const char *format, ...) _printf_(5, 6);
/* The rows of doctor-memory.c. */
void doctor_judge_memory(const struct doctor_facts *f, struct doctor_report *r);

void doctor_judge(const struct doctor_facts *f, struct doctor_report *ret);
unsigned doctor_count(const struct doctor_report *r, enum doctor_verdict v);
