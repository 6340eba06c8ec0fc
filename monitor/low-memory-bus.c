/* SPDX-License-Identifier: MIT */
#include "low-memory-bus.h"

#include "service.h"

#define NAME "org.freedesktop.LowMemoryMonitor"
#define PATH "/org/freedesktop/LowMemoryMonitor"
#define INTERFACE "org.freedesktop.LowMemoryMonitor"

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_SIGNAL_WITH_ARGS("LowMemoryWarning", SD_BUS_ARGS("y", level), 0),
    SD_BUS_VTABLE_END,
};

static void release_object(struct low_memory_bus *l)
{
    l->object = sd_bus_slot_unref(l->object);
    l->request = sd_bus_slot_unref(l->request);
    l->owned = false;
}

static int on_request_name_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const sd_bus_error *e = sd_bus_message_get_error(m);
    struct low_memory_bus *l = userdata;
    uint32_t answer = 0;

    if (!e)
        (void)sd_bus_message_read(m, "u", &answer);
    if (answer == 1 || answer == 4) { /* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER, _ALREADY_OWNER */
        l->owned = true;
        l->request = sd_bus_slot_unref(l->request);
        log_info("low memory warnings: acquired name " NAME);
        return 0;
    }
    log_notice("low memory warnings: cannot acquire name " NAME
               ": %s; no warnings until a reload acquires it",
            e ? e->message ?: e->name : "another service owns it");
    release_object(l);
    return 0;
}

static void request_name(struct low_memory_bus *l)
{
    int r = sd_bus_add_object_vtable(l->bus, &l->object, PATH, INTERFACE, vtable, l);

    /* Flags 0: neither queued nor replacing. */
    if (r >= 0)
        r = sd_bus_request_name_async(l->bus, &l->request, NAME, 0, on_request_name_reply, l);
    if (r < 0) {
        log_warning("low memory warnings: %s", strerror(-r));
        release_object(l);
    }
}

void low_memory_bus_opened(struct low_memory_bus *l, sd_bus *bus)
{
    l->bus = bus;
    if (l->wanted)
        request_name(l);
}

void low_memory_bus_lost(struct low_memory_bus *l)
{
    release_object(l);
    l->bus = NULL;
}

void low_memory_bus_configure(struct low_memory_bus *l, bool wanted)
{
    l->wanted = wanted;
    if (!l->bus)
        return;
    if (wanted && !l->object)
        request_name(l);
    if (!wanted && l->object) {
        (void)sd_bus_release_name_async(l->bus, NULL, NAME, NULL, NULL);
        release_object(l);
        log_info("low memory warnings: off, released name " NAME);
    }
}

void low_memory_bus_warn(struct low_memory_bus *l, enum low_memory_level level, const struct decision *d)
{
    if (!l->owned)
        return;
    (void)sd_bus_emit_signal(l->bus, PATH, INTERFACE, "LowMemoryWarning", "y", level);
    if (level != l->warned)
        l->repeat = (struct log_repeat){ 0 };
    l->warned = level;
    log_repeated(&l->repeat, now_usec(), LOG_NOTICE,
            "warned programs, %s: %s (available %s, projected %s, headroom %s)",
            low_memory_level_to_string(level), decide_why_text(d->why), FORMAT_BYTES(d->available),
            FORMAT_BYTES(d->projected), FORMAT_BYTES(d->headroom));
}
