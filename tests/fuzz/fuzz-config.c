/* SPDX-License-Identifier: MIT */
/* A configuration file, one daemon's for each program built from this. */
#include "fuzz.h"

#if defined(ACTUATOR)
#include "actuator-config.h"

static int load(const char *path, char **ret_error)
{
    struct actuator_config c;
    int r = actuator_config_load(path, false, &c, ret_error);

    if (r >= 0)
        config_clear(actuator_options, &c);
    return r;
}
#elif defined(MONITOR)
#include "monitor-config.h"

static int load(const char *path, char **ret_error)
{
    struct monitor_config c;
    int r = monitor_config_load(path, false, &c, ret_error);

    if (r >= 0) {
        FUZZ_CHECK(c.mode >= 0 && c.mode < _MONITOR_MODE_MAX);
        config_clear(monitor_options, &c);
    }
    return r;
}
#else
#include "host-config.h"

static int load(const char *path, char **ret_error)
{
    _cleanup_(host_config_freep) struct host_config *c = NULL;

    return host_config_load(path, &c, ret_error);
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *error = NULL;
    char path[64];
    int fd = fuzz_file(data, size, path), r = load(path, &error);

    /* Whoever is refused is told why, in words that fit a terminal. */
    FUZZ_CHECK((r < 0) == (error != NULL));
    if (error)
        FUZZ_CHECK(g_utf8_validate(error, -1, NULL) && strlen(error) < 4096);
    close(fd);
    return 0;
}
