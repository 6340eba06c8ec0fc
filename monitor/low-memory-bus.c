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

static void give_up(struct low_memory_bus *l)
{
    l->object = sd_bus_slot_unref(l->object);
    l->request = sd_bus_slot_unref(l->request);
    l->owned = false;
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
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
    give_up(l);
    return 0;
}

static void take(struct low_memory_bus *l)
{
    int r = sd_bus_add_object_vtable(l->bus, &l->object, PATH, INTERFACE, vtable, l);

    /* Flags 0: neither queued nor replacing. */
    if (r >= 0)
        r = sd_bus_request_name_async(l->bus, &l->request, NAME, 0, on_answer, l);
    if (r < 0) {
        log_warning("low memory warnings: %s", strerror(-r));
        give_up(l);
    }
}

void low_memory_bus_opened(struct low_memory_bus *l, sd_bus *bus)
{
    l->bus = bus;
    if (l->wanted)
        take(l);
}

void low_memory_bus_lost(struct low_memory_bus *l)
{
    give_up(l);
    l->bus = NULL;
}

void low_memory_bus_configure(struct low_memory_bus *l, bool wanted)
{
    l->wanted = wanted;
    if (!l->bus)
        return;
    if (wanted && !l->object)
        take(l);
    if (!wanted && l->object) {
        (void)sd_bus_release_name_async(l->bus, NULL, NAME, NULL, NULL);
        give_up(l);
        log_info("low memory warnings: off, released name " NAME);
    }
}

void low_memory_bus_warn(struct low_memory_bus *l, enum low_memory_level level, const struct decision *d)
{
    if (!l->owned)
        return;
    (void)sd_bus_emit_signal(l->bus, PATH, INTERFACE, "LowMemoryWarning", "y", level);
    if (level != l->said)
        l->repeat = (struct log_repeat){ 0 };
    l->said = level;
    log_repeated(&l->repeat, now_usec(), LOG_NOTICE,
            "warned programs, %s: %s (available %s, projected %s, headroom %s)",
            low_memory_level_to_string(level), decide_why_text(d->why), FORMAT_BYTES(d->available),
            FORMAT_BYTES(d->projected), FORMAT_BYTES(d->headroom));
}
