/* SPDX-License-Identifier: MIT */
/* An ordinary GLib program, as it would be written for any desktop: prints each warning of GMemoryMonitor's.
 */
#include <gio/gio.h>

static void on_warning(GMemoryMonitor *monitor, GMemoryMonitorWarningLevel level, gpointer userdata)
{
    g_print("warning %d\n", (int)level);
}

int main(void)
{
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autoptr(GMemoryMonitor) monitor = g_memory_monitor_dup_default();

    g_signal_connect(monitor, "low-memory-warning", G_CALLBACK(on_warning), NULL);
    g_print("listening by %s\n", G_OBJECT_TYPE_NAME(monitor));
    g_main_loop_run(loop);
    return 0;
}
