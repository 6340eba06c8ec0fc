/* SPDX-License-Identifier: MIT */
/* Where Port= leads on a machine without a virtio port. */
#include "unit.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <sys/socket.h>

#include "port.h"
#include "unix-socket.h"
#include "vsock.h"

#define DRIVER "bus/virtio/drivers/vmw_vsock_virtio_transport"

struct tree {
    char root[64];
};

static int make_tree(void **state)
{
    struct tree *t = g_new0(struct tree, 1);

    g_strlcpy(t->root, "/tmp/vmtide-port-XXXXXX", sizeof(t->root));
    *state = t;
    return g_mkdtemp(t->root) ? 0 : -1;
}

static int remove_tree(void **state)
{
    static const char *const parts[] = { "line", "file", DRIVER "/module", DRIVER "/virtio4", DRIVER,
        "bus/virtio/drivers", "bus/virtio", "bus", "" };
    struct tree *t = *state;

    for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
        g_autofree char *path = g_build_filename(t->root, parts[i], NULL);

        (void)g_remove(path);
    }
    g_free(t);
    return 0;
}

static void make_folder(const struct tree *t, const char *rest)
{
    g_autofree char *path = g_build_filename(t->root, rest, NULL);

    assert_int_equal(g_mkdir_with_parents(path, 0755), 0);
}

static int open_it(const struct tree *t, const char *port)
{
    int fd = -EBADF, r = port_open(port, t->root, USEC_PER_SEC, &fd);

    if (r >= 0)
        close(fd);
    return r;
}

/* Loopback alone, and a driver without a device, are no way to a host: this machine would be taken for it. */
static void test_no_host_over_vsock_without_a_device(void **state)
{
    const struct tree *t = *state;

    assert_false(vsock_has_device(t->root));
    assert_int_equal(open_it(t, "auto"), -ENOENT);
    assert_int_equal(open_it(t, "vsock"), -ENODEV);
    assert_int_equal(open_it(t, "vsock:77"), -ENODEV);
    assert_int_equal(open_it(t, "vsock:2:77"), -ENODEV);
    make_folder(t, DRIVER "/module");
    assert_false(vsock_has_device(t->root));
    assert_int_equal(open_it(t, "vsock"), -ENODEV);
    make_folder(t, DRIVER "/virtio4");
    assert_true(vsock_has_device(t->root));
}

static void test_paths(void **state)
{
    const struct tree *t = *state;
    g_autofree char *line = g_build_filename(t->root, "line", NULL),
                    *file = g_build_filename(t->root, "file", NULL);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;

    assert_int_equal(open_it(t, line), -ENOENT);
    assert_int_equal(open_it(t, t->root), -EISDIR);
    assert_true(g_file_set_contents(file, "", 0, NULL));
    assert_int_equal(open_it(t, file), 0);
    assert_int_equal(unix_address(line, &address), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(open_it(t, line), -ECONNREFUSED);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(open_it(t, line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_host_over_vsock_without_a_device, make_tree, remove_tree),
        cmocka_unit_test_setup_teardown(test_paths, make_tree, remove_tree),
    };

    return cmocka_run_group_tests_name("port", tests, NULL, NULL);
}
