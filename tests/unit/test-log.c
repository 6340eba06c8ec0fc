/* SPDX-License-Identifier: MIT */
/* What comes out at standard error: one line each, and a repeated fault once. */
#include "unit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "log.h"

static int saved_stderr = -EBADF;
static int pipe_end = -EBADF;
static char output[65536];

static int setup(void **state)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    saved_stderr = dup(STDERR_FILENO);
    if (saved_stderr < 0 || dup2(fds[1], STDERR_FILENO) < 0)
        return -1;
    closep(&fds[1]);
    pipe_end = fds[0];
    (void)unsetenv("JOURNAL_STREAM");
    log_open("test");
    log_set_max_level(LOG_INFO);
    return 0;
}

static int teardown(void **state)
{
    (void)dup2(saved_stderr, STDERR_FILENO);
    closep(&saved_stderr);
    closep(&pipe_end);
    return 0;
}

/* What has been written since the last look. */
static const char *said(void)
{
    ssize_t n = read(pipe_end, output, sizeof(output) - 1);

    output[n > 0 ? n : 0] = '\0';
    return output;
}

static void test_line(void **state)
{
    log_info("size %d", 7);
    assert_string_equal(said(), "test: size 7\n");
    log_warning("%s", "");
    assert_string_equal(said(), "test: \n");
    log_debug("not wanted");
    assert_string_equal(said(), "");
    log_set_max_level(LOG_DEBUG);
    assert_int_equal(log_max_level(), LOG_DEBUG);
    log_debug("wanted");
    assert_string_equal(said(), "test: wanted\n");
    log_set_max_level(LOG_ERR);
    log_warning("not wanted");
    log_error("wanted");
    assert_string_equal(said(), "test: wanted\n");
}

/* A peer's text is data: it makes no lines of its own and moves no cursor. */
static void test_text_of_a_peer(void **state)
{
    log_info("%s", "a\nvmtide-host: forged\r\x1b[2J\x7f");
    assert_string_equal(said(), "test: a?vmtide-host: forged??[2J?\n");
    log_info("%s", "\xc3\xa4");
    assert_string_equal(said(), "test: \xc3\xa4\n");
}

static void test_long_line(void **state)
{
    char text[5000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("%s", text);
    said();
    assert_true(strlen(output) > 1000 && strlen(output) <= 2048);
    assert_ptr_equal(strchr(output, '\n'), output + strlen(output) - 1);
}

static void test_journal(void **state)
{
    char stream[64];
    struct stat st;

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
    log_open("test");
    log_warning("it\nis");
    assert_string_equal(said(), "<4>it?is\n");
    assert_string_equal(log_target(), "journal");
    /* Somebody else's stream. */
    assert_int_equal(setenv("JOURNAL_STREAM", "1:1", 1), 0);
    log_open("test");
    log_warning("it");
    assert_string_equal(said(), "test: it\n");
    assert_string_equal(log_target(), "console");
    assert_string_equal(log_identifier(), "test");
}

static void test_levels(void **state)
{
    for (int i = LOG_EMERG; i <= LOG_DEBUG; i++)
        assert_int_equal(log_level_from_string(log_level_to_string(i)), i);
    assert_int_equal(log_level_from_string("4"), LOG_WARNING);
    assert_int_equal(log_level_from_string("7"), LOG_DEBUG);
    assert_int_equal(log_level_from_string("2"), LOG_CRIT);
    assert_int_equal(log_level_from_string("emerg"), LOG_EMERG);
    assert_int_equal(log_level_from_string("8"), -EINVAL);
    assert_int_equal(log_level_from_string("44"), -EINVAL);
    assert_int_equal(log_level_from_string(""), -EINVAL);
    assert_int_equal(log_level_from_string("loud"), -EINVAL);
    assert_null(log_level_to_string(LOG_EMERG - 1));
    assert_null(log_level_to_string(LOG_DEBUG + 1));
}

static void test_repeated(void **state)
{
    struct log_repeat r = { 0 }, other = { 0 };
    uint64_t now = 5 * USEC_PER_SEC;

    log_repeated(&r, now, LOG_WARNING, "fault %d", 1);
    assert_string_equal(said(), "test: fault 1\n");
    for (unsigned i = 0; i < 1000; i++)
        log_repeated(&r, now + i, LOG_WARNING, "fault %d", 2);
    log_repeated(&r, now + 60 * USEC_PER_SEC - 1, LOG_WARNING, "fault %d", 2);
    assert_string_equal(said(), "");
    log_repeated(&other, now, LOG_WARNING, "another");
    assert_string_equal(said(), "test: another\n");
    log_repeated(&r, now + 60 * USEC_PER_SEC, LOG_WARNING, "fault %d", 3);
    assert_string_equal(said(), "test: fault 3 (and 1001 times more since it was last said)\n");
    /* The count begins anew. */
    log_repeated(&r, now + 130 * USEC_PER_SEC, LOG_WARNING, "fault %d", 4);
    assert_string_equal(said(), "test: fault 4\n");
    /* A clock that went back silences nothing for long. */
    log_repeated(&r, 1, LOG_WARNING, "fault %d", 5);
    assert_string_equal(said(), "test: fault 5\n");
}

static void test_repeat_end(void **state)
{
    struct log_repeat r = { 0 };

    log_repeat_end(&r, LOG_INFO, "faults");
    assert_string_equal(said(), "");
    log_repeated(&r, 1, LOG_WARNING, "fault");
    said();
    log_repeat_end(&r, LOG_INFO, "faults");
    assert_string_equal(said(), "");
    log_repeated(&r, 2, LOG_WARNING, "fault");
    assert_string_equal(said(), "test: fault\n");
    log_repeated(&r, 3, LOG_WARNING, "fault");
    log_repeated(&r, 4, LOG_WARNING, "fault");
    log_repeat_end(&r, LOG_INFO, "faults");
    assert_string_equal(said(), "test: faults: over; 2 were not said\n");
    log_repeated(&r, 5, LOG_WARNING, "fault");
    assert_string_equal(said(), "test: fault\n");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_line),
        TEST(test_text_of_a_peer),
        TEST(test_long_line),
        TEST(test_journal),
        TEST(test_levels),
        TEST(test_repeated),
        TEST(test_repeat_end),
    };

    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
