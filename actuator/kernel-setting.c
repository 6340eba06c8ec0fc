/* SPDX-License-Identifier: MIT */
#include "kernel-setting.h"

#include <glib.h>
#include <limits.h>

#include "procfile.h"

#define FILE_SIZE_MAX 4096u
#define KEY_ADMIN "Administrator"
#define KEY_BEFORE "Before"
#define KEY_WRITTEN "Written"

static const char *const names[_KERNEL_SETTING_MAX] = {
    [KERNEL_SETTING_OVERCOMMIT] = "overcommit_memory",
    [KERNEL_SETTING_RESERVE_RATIO] = "lowmem_reserve_ratio",
};

const char *kernel_setting_to_string(enum kernel_setting_id id)
{
    return id >= 0 && id < _KERNEL_SETTING_MAX ? names[id] : NULL;
}

int kernel_numbers_parse(const char *text, struct kernel_numbers *ret)
{
    struct kernel_numbers v = { .n = 0 };

    for (const char *p = text;;) {
        unsigned long value;
        char *end;

        p += strspn(p, " \t");
        if (*p == '\0' || *p == '\n')
            break;
        if (*p < '0' || *p > '9' || v.n == KERNEL_NUMBERS_MAX)
            return -EBADMSG;
        errno = 0;
        value = strtoul(p, &end, 10);
        if (errno != 0 || value > INT32_MAX)
            return -ERANGE;
        v.values[v.n++] = (uint32_t)value;
        p = end;
    }
    if (v.n == 0)
        return -EBADMSG;
    *ret = v;
    return 0;
}

const char *kernel_numbers_format(char buf[static KERNEL_NUMBERS_TEXT_MAX], const struct kernel_numbers *v)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < v->n; i++)
        len += (size_t)snprintf(
                buf + len, KERNEL_NUMBERS_TEXT_MAX - len, "%s%u", i > 0 ? " " : "", v->values[i]);
    return buf;
}

bool kernel_numbers_equal(const struct kernel_numbers *a, const struct kernel_numbers *b)
{
    return a->n == b->n && memcmp(a->values, b->values, a->n * sizeof(a->values[0])) == 0;
}

static int make_path(char path[static PATH_MAX], const char *procfs, enum kernel_setting_id id)
{
    return snprintf(path, PATH_MAX, "%s/sys/vm/%s", procfs, names[id]) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int read_numbers(const char *procfs, enum kernel_setting_id id, struct kernel_numbers *ret)
{
    char path[PATH_MAX], text[256];
    size_t len;
    int r = make_path(path, procfs, id);

    if (r >= 0)
        r = procfile_read(path, text, sizeof(text), &len);
    return r < 0 ? r : kernel_numbers_parse(text, ret);
}

static int write_numbers(const char *procfs, enum kernel_setting_id id, const struct kernel_numbers *v)
{
    char path[PATH_MAX], text[KERNEL_NUMBERS_TEXT_MAX + 1];
    int r = make_path(path, procfs, id);

    (void)snprintf(text, sizeof(text), "%s\n", FORMAT_NUMBERS(v));
    return r < 0 ? r : procfile_write(path, text);
}

static void put_numbers(
        GKeyFile *file, enum kernel_setting_id id, const char *key, const struct kernel_numbers *v)
{
    if (v->n > 0)
        g_key_file_set_string(file, names[id], key, FORMAT_NUMBERS(v));
}

/* The file is the old one or the new one, never a part. Without a change of ours it is removed. */
static int save(const struct kernel_state *s)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;
    bool any = false;

    for (enum kernel_setting_id id = 0; id < _KERNEL_SETTING_MAX; id++) {
        const struct kernel_setting *k = &s->settings[id];

        if (!k->ours)
            continue;
        any = true;
        put_numbers(file, id, KEY_ADMIN, &k->admin);
        put_numbers(file, id, KEY_BEFORE, &k->before);
        put_numbers(file, id, KEY_WRITTEN, &k->written);
    }
    if (!any)
        return unlink(s->path) < 0 && errno != ENOENT ? -errno : 0;
    if (!g_key_file_save_to_file(file, s->path, &error)) {
        log_debug("%s", error->message);
        return -EIO;
    }
    return 0;
}

int kernel_setting_read(
        const struct kernel_state *s, enum kernel_setting_id id, struct kernel_numbers *ret_numbers)
{
    return read_numbers(s->procfs, id, ret_numbers);
}

static void yield_setting(struct kernel_state *s, enum kernel_setting_id id, const struct kernel_numbers *now)
{
    struct kernel_setting *k = &s->settings[id];

    log_notice("vm.%s was changed to %s by the administrator and stays so; it was set to %s", names[id],
            FORMAT_NUMBERS(now), FORMAT_NUMBERS(&k->written));
    k->ours = false;
    k->yielded = true;
    (void)save(s);
}

int kernel_setting_admin(
        struct kernel_state *s, enum kernel_setting_id id, struct kernel_numbers *ret_numbers)
{
    struct kernel_setting *k = &s->settings[id];
    struct kernel_numbers now;
    int r = read_numbers(s->procfs, id, &now);

    if (r < 0)
        return r;
    if (k->ours && !kernel_numbers_equal(&now, &k->written))
        yield_setting(s, id, &now);
    *ret_numbers = k->ours ? k->admin : now;
    return 0;
}

/* The file names the new value before the kernel has it, and the old one still: whichever stands when the
 * actuator is killed in between is known to be ours. */
static int write_ours(struct kernel_state *s, enum kernel_setting_id id, const struct kernel_numbers *wanted)
{
    struct kernel_setting *k = &s->settings[id], old = *k;
    int r;

    k->before = k->ours ? k->written : (struct kernel_numbers){ .n = 0 };
    k->written = *wanted;
    k->ours = true;
    r = save(s);
    if (r >= 0)
        r = write_numbers(s->procfs, id, wanted);
    if (r >= 0)
        return 1;
    *k = old;
    (void)save(s);
    return r;
}

int kernel_setting_apply(
        struct kernel_state *s, enum kernel_setting_id id, const struct kernel_numbers *wanted)
{
    struct kernel_setting *k = &s->settings[id];
    struct kernel_numbers admin;
    int r;

    if (k->yielded)
        return 0;
    r = kernel_setting_admin(s, id, &admin);
    if (r < 0 || k->yielded)
        return r;
    if (kernel_numbers_equal(wanted, &admin))
        return kernel_setting_restore(s, id);
    if (k->ours && kernel_numbers_equal(wanted, &k->written))
        return 0;
    k->admin = admin;
    return write_ours(s, id, wanted);
}

int kernel_setting_restore(struct kernel_state *s, enum kernel_setting_id id)
{
    struct kernel_setting *k = &s->settings[id];
    struct kernel_numbers admin;
    int r;

    if (!k->ours) {
        k->yielded = false;
        return 0;
    }
    r = kernel_setting_admin(s, id, &admin);
    if (r < 0)
        return r;
    if (k->ours)
        r = write_numbers(s->procfs, id, &admin);
    if (r < 0)
        return r;
    r = k->ours;
    k->ours = k->yielded = false;
    (void)save(s);
    return r;
}

static void get_numbers(
        GKeyFile *file, enum kernel_setting_id id, const char *key, struct kernel_numbers *ret)
{
    g_autofree char *text = g_key_file_get_string(file, names[id], key, NULL);

    if (!text || kernel_numbers_parse(text, ret) < 0)
        ret->n = 0;
}

/* A value that is not ours is the administrator's, who has changed it since. */
static int restore_one(GKeyFile *file, const char *procfs, enum kernel_setting_id id)
{
    struct kernel_numbers admin, before, written, now;
    int r;

    if (!g_key_file_has_group(file, names[id]))
        return 0;
    get_numbers(file, id, KEY_ADMIN, &admin);
    get_numbers(file, id, KEY_BEFORE, &before);
    get_numbers(file, id, KEY_WRITTEN, &written);
    if (admin.n == 0 || written.n == 0)
        return -EBADMSG;
    r = read_numbers(procfs, id, &now);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!kernel_numbers_equal(&now, &written) && !kernel_numbers_equal(&now, &before))
        return 0;
    r = write_numbers(procfs, id, &admin);
    if (r < 0)
        return r;
    log_info("vm.%s restored to %s; a vmtide-actuator that was killed had set %s", names[id],
            FORMAT_NUMBERS(&admin), FORMAT_NUMBERS(&now));
    return 1;
}

int kernel_state_restore(const char *path, const char *procfs)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    char text[FILE_SIZE_MAX];
    int count = 0, error = 0;
    size_t len;
    int r = procfile_read(path, text, sizeof(text), &len);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!g_key_file_load_from_data(file, text, len, G_KEY_FILE_NONE, NULL))
        return -EBADMSG;
    for (enum kernel_setting_id id = 0; id < _KERNEL_SETTING_MAX; id++) {
        r = restore_one(file, procfs, id);
        if (r < 0 && error == 0)
            error = r;
        count += r > 0;
    }
    if (error < 0)
        return error;
    return unlink(path) < 0 && errno != ENOENT ? -errno : count;
}
