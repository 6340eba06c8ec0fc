/* SPDX-License-Identifier: MIT */
#include "guard-strain.h"

#include <glib.h>

#include "config.h"

#define OOMD_DEFAULT_USEC (30 * USEC_PER_SEC)
#define OOMD_SHORTEST_USEC USEC_PER_SEC

bool guard_strain_step(struct guard_strain *s, uint32_t some10, uint64_t bound, uint64_t now)
{
    if (some10 < GUARD_STRAIN_END) {
        *s = (struct guard_strain){ 0 };
        return false;
    }
    if (s->since == 0 && some10 >= GUARD_STRAIN_BEGIN)
        s->since = now;
    if (s->since > 0 && bound != USEC_FOREVER && now - s->since >= bound)
        s->lifted = true;
    return s->lifted;
}

/* The duration in one file, when it has one and it is shorter. */
static void take_file(const char *path, uint64_t *duration)
{
    static const struct config_option option = { "OOM", "DefaultMemoryPressureDurationSec", CONFIG_USEC, 0, 0,
        0, NULL };
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autofree char *value = NULL, *error = NULL;
    uint64_t usec;

    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL))
        return;
    value = g_key_file_get_string(file, option.group, option.key, NULL);
    if (value && config_set(&option, &usec, value, &error) >= 0)
        *duration = CLAMP_TO(usec, OOMD_SHORTEST_USEC, *duration);
}

static void take_folder(const char *path, uint64_t *duration)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);

    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        if (g_str_has_suffix(name, ".conf"))
            take_file(file, duration);
    }
}

uint64_t guard_strain_bound(const char *const roots[], size_t n_roots, const char *runtime)
{
    uint64_t duration = OOMD_DEFAULT_USEC;

    if (access(runtime, F_OK) < 0)
        return USEC_FOREVER;
    for (size_t i = 0; i < n_roots; i++) {
        g_autofree char *file = g_build_filename(roots[i], "systemd/oomd.conf", NULL);
        g_autofree char *folder = g_strconcat(file, ".d", NULL);

        take_file(file, &duration);
        take_folder(folder, &duration);
    }
    return duration / 2;
}
