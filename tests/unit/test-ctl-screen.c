/* SPDX-License-Identifier: MIT */
/* What vmtidectl shows. */
#include "unit.h"

#include "bytes.h"
#include "fault.h"
#include "listen.h"
#include "names.h"
#include "screen.h"

static const struct draw_style plain = { .width = 80 };
static const struct draw_style pretty = { .colour = true, .utf8 = true, .width = 80 };

static json_t *load(const char *text)
{
    json_error_t error;
    json_t *j = json_loads(text, 0, &error);

    if (!j)
        fail_msg("%s: %s", error.text, text);
    return j;
}

/* In 80 columns. */
static void assert_fits(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **l = lines; *l; l++)
        assert_in_range(g_utf8_strlen(*l, -1), 0, 80);
}

static void test_bar(void **state)
{
    static const uint64_t amounts[] = { 0, 1, 2, 3, 7, GIB(1), GIB(9), UINT64_MAX };
    struct draw_segment s[] = { { 0, "█", "#", DRAW_PLAIN }, { 0, "▓", "=", DRAW_PLAIN },
        { 0, "·", ".", DRAW_PLAIN } };

    /* Exactly as wide as was asked, in order, whatever the shares. */
    for (size_t i = 0; i < ELEMENTSOF(amounts) * ELEMENTSOF(amounts) * ELEMENTSOF(amounts); i++) {
        g_autoptr(GString) out = g_string_new(NULL);
        const char *end;

        s[0].amount = amounts[i % 8];
        s[1].amount = amounts[i / 8 % 8];
        s[2].amount = amounts[i / 64];
        draw_bar(out, &plain, s, ELEMENTSOF(s), 67);
        assert_int_equal(out->len, 67);
        end = out->str + strspn(out->str, "#");
        end += strspn(end, "=");
        assert_string_equal(end + strspn(end, "."), "");
    }
    {
        g_autoptr(GString) out = g_string_new(NULL);

        s[0].amount = GIB(1);
        s[1].amount = GIB(2);
        s[2].amount = GIB(1);
        draw_bar(out, &plain, s, ELEMENTSOF(s), 8);
        assert_string_equal(out->str, "##====..");
        g_string_truncate(out, 0);
        draw_bar(out, &pretty, s, ELEMENTSOF(s), 4);
        assert_string_equal(out->str, "█▓▓·");
    }
}

static void test_pieces(void **state)
{
    static const uint64_t values[] = { 0, 1, 50, 100, 101, UINT64_MAX };
    g_autoptr(GString) out = g_string_new(NULL);

    draw_sparkline(out, &plain, values, ELEMENTSOF(values), 100);
    assert_string_equal(out->str, "_.=###");
    g_string_truncate(out, 0);
    draw_sparkline(out, &plain, values, 2, 0);
    assert_string_equal(out->str, "__");
    g_string_truncate(out, 0);
    draw_text(out, "a\033[2Jb\xff\nc\xc2\x9b", 100);
    assert_null(strpbrk(out->str, "\033\n\xff"));
    assert_true(g_utf8_validate(out->str, -1, NULL));
    g_string_truncate(out, 0);
    draw_text(out, "äöüß", 3);
    assert_string_equal(out->str, "äöü");
    g_string_truncate(out, 0);
    draw_colour(out, &plain, DRAW_RED, "%d", 7);
    draw_colour(out, &pretty, DRAW_RED, "%d", 7);
    draw_colour(out, &pretty, DRAW_PLAIN, "%d", 7);
    assert_string_equal(out->str, "7\033[31m7\033[0m7");
    assert_string_equal(DRAW_PERMYRIAD(5), "0.05 %");
    assert_string_equal(DRAW_PERMYRIAD(10000), "100.00 %");
    assert_string_equal(DRAW_SPAN(0), "0 ms");
    assert_string_equal(DRAW_SPAN(999999), "999 ms");
    assert_string_equal(DRAW_SPAN(119 * USEC_PER_SEC), "119 s");
    assert_string_equal(DRAW_SPAN(120 * USEC_PER_SEC), "2 min");
    assert_string_equal(DRAW_SPAN(50 * 3600 * USEC_PER_SEC), "2 days");
}

#define ACTUATOR                                                                                             \
    "\"Actuator1\": {\"Size\": 2147483648, \"RequestedSize\": 2147483648, \"BootSize\": 1073741824,"         \
    "\"MinSize\": 0, \"MaxSize\": 8589934592, \"HostMinSize\": 0, \"HostMaxSize\": 8589934592,"              \
    "\"GuardHeadroom\": 268435456, \"ReservedBytes\": 536870912, \"GuardHeld\": true, \"HostConnected\": "   \
    "true,"                                                                                                  \
    "\"State\": \"idle\", \"Version\": \"0.1.0\", \"LastError\": \"\"}"
#define MONITOR                                                                                              \
    "\"Monitor1\": {\"Mode\": \"auto\", \"Level\": \"normal\", \"Available\": 851443712,"                    \
    "\"Headroom\": 268435456, \"PressureSome10\": 12, \"PausedUntil\": 0, \"PauseReason\": \"\"}"
#define DECISION                                                                                             \
    "{\"time\": 1000000, \"action\": \"grow\", \"bytes\": 536870912, \"reason\": \"short\","                 \
    "\"text\": \"available memory is under the headroom\", \"outcome\": \"granted\", \"level\": \"rising\"}"
#define REST                                                                                                 \
    "\"Reservations\": [{\"bytes\": 536870912, \"who\": \"camera\", \"why\": \"reverse gear\","              \
    "\"uid\": 1000, \"since\": 1000000}], \"Decisions\": [" DECISION "]"

static const struct screen_clock now = { 13 * USEC_PER_SEC, 181 * USEC_PER_SEC };

static char *status(const struct draw_style *s, const char *json)
{
    GString *out = g_string_new(NULL);
    json_t *root = load(json);
    struct ctl_state state;

    state_read(root, &state);
    screen_status(out, s, &state, &now);
    json_decref(root);
    return g_string_free(out, FALSE);
}

static void test_status(void **state)
{
    g_autofree char *text = status(&plain, "{" ACTUATOR "," MONITOR "," REST "}");

    assert_string_equal(text,
            "vmtide     auto, normal; host connected\n"
            "\n"
            "Memory     3G of 9G\n"
            "           ########=============++..............................................\n"
            "           # boot 1G  = plugged 2G  + headroom 256M  . max 8G\n"
            "Size       2G, requested 2G, idle\n"
            "Limits     0 to 8G; the host's: 0 to 8G\n"
            "Available  812M, of which 256M are to be kept ready\n"
            "Pressure   0.12 % of the last 10 s\n"
            "Guard      armed, keeps 256M free; tasks wait for memory\n"
            "Reserved   512M\n"
            "           512M    camera (uid 1000, 3 min): reverse gear\n"
            "Last       12 s ago: grow 512M; granted\n"
            "           available memory is under the headroom\n");
}

static void test_the_last_act_is_shown_behind_what_holds(void **state)
{
    g_autofree char *text = status(&plain, "{" MONITOR ", \"Decisions\": [{\"time\": 12000000, \"action\": "
                                           "\"hold\", \"text\": \"enough\"}, " DECISION ", " DECISION "]}");
    g_autofree char *quiet = status(&plain, "{" MONITOR ", \"Decisions\": [{\"action\": \"hold\"}]}");

    assert_non_null(strstr(text, "\nNow        hold: enough\nLast       12 s ago: grow 512M; granted\n"));
    assert_non_null(strstr(quiet, "\nNow        hold: "));
    assert_null(strstr(quiet, "\nLast"));
}

static void test_status_of_less(void **state)
{
    g_autofree char *none = status(&plain, "{\"Actuator1\": null, \"Monitor1\": null}");
    g_autofree char *odd =
            status(&plain, "{\"Actuator1\": {\"Size\": \"x\", \"MaxSize\": null, \"State\": 7},"
                           "\"Monitor1\": {\"PausedUntil\": null, \"PauseReason\": \"\\u001b[2J\"},"
                           "\"Reservations\": [7], \"Decisions\": [[]]}");
    g_autofree char *colours = status(&pretty, "{" ACTUATOR "," MONITOR "," REST "}");

    assert_string_equal(none, "vmtide     no monitor: nothing grows or shrinks by itself; no actuator\n\n");
    assert_non_null(strstr(odd, "no host answers"));
    assert_non_null(strstr(odd, "until it is resumed"));
    assert_non_null(strstr(odd, "what the host allows"));
    assert_null(strchr(odd, '\033'));
    assert_non_null(strstr(colours, "\033[32mnormal\033[0m"));
    assert_fits(odd);
}

static void test_watch(void **state)
{
    g_autoptr(GString) out = g_string_new(NULL);
    json_t *root = load("{" ACTUATOR "," MONITOR "," REST "}");
    struct screen_history h = { .n = 0 };
    struct ctl_state s;

    state_read(root, &s);
    for (size_t i = 0; i < 3 * SCREEN_HISTORY_MAX; i++) {
        s.size = GIB(i / SCREEN_HISTORY_MAX);
        s.some10 = (uint32_t)i;
        screen_history_add(&h, &s);
    }
    assert_int_equal(h.n, SCREEN_HISTORY_MAX);
    assert_int_equal(h.size[0], GIB(3));
    assert_int_equal(h.some10[SCREEN_HISTORY_MAX - 1], 3 * SCREEN_HISTORY_MAX - 1);
    screen_history(out, &plain, &h, &s);
    assert_non_null(strstr(out->str, "Size       ---"));
    assert_non_null(strstr(out->str, "to 9G and 1.79 %"));
    g_string_truncate(out, 0);
    screen_line(out, &s, &now);
    assert_non_null(strstr(out->str, " size 2G requested 2G max 8G state idle host yes available 812M"));
    json_decref(root);
}

static void test_decision(void **state)
{
    g_autoptr(GString) out = g_string_new(NULL);
    json_t *d = load(DECISION);

    screen_decision(out, &plain, d);
    assert_non_null(strstr(out->str, "grow 512M (short, rising): granted\n           available memory"));
    assert_fits(out->str);
    json_decref(d);
}

static void test_signals_in_words(void **state)
{
    static const struct {
        const char *member;
        const char *arguments;
        const char *words;
    } rows[] = {
        { "SizeChanged", "[0, 1073741824, \"burst\\n\"]", "size 0 to 1G (burst?)" },
        { "RequestRefused", "[\"plug\", 1048576, \"org.x\", \"too much\"]", "plug 1M refused: too much" },
        { "ShrinkRequested", "[1, 0, \"short\"]", "the host asks to give back down to 0 (short)" },
        { "RoomAvailable", "[]", "the host has room again" },
        { "LevelChanged", "[\"normal\", \"critical\"]", "level normal to critical" },
        { "Decided", "[" DECISION "]", "grow 512M: available memory is under the headroom" },
        { "PropertiesChanged", "[\"x\", {\"Size\": 5, \"State\": \"idle\"}, []]", "Size=5 State=idle" },
        { "Novelty", "[1, \"x\"]", "[1,\"x\"]" },
        { "SizeChanged", "[]", "size 0 to 0 ()" },
    };

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        g_autoptr(GString) out = g_string_new(NULL);
        json_t *arguments = load(rows[i].arguments);

        listen_describe(out, rows[i].member, arguments);
        assert_string_equal(out->str, rows[i].words);
        json_decref(arguments);
    }
}

static void test_faults(void **state)
{
    assert_int_equal(fault_of(ERROR_LIMIT_EXCEEDED).status, FAULT_REFUSED);
    assert_int_equal(fault_of(ERROR_BUSY).status, FAULT_TRY_AGAIN);
    assert_int_equal(fault_of(ERROR_HOST_UNAVAILABLE).status, FAULT_UNAVAILABLE);
    assert_int_equal(fault_of("org.freedesktop.DBus.Error.AccessDenied").status, FAULT_NOT_ALLOWED);
    assert_non_null(fault_of("org.freedesktop.DBus.Error.AccessDenied").advice);
    assert_int_equal(fault_of("com.example.Novelty").status, FAULT_REFUSED);
    assert_null(fault_of("com.example.Novelty").advice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_the_last_act_is_shown_behind_what_holds),
        cmocka_unit_test(test_status_of_less),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_decision),
        cmocka_unit_test(test_signals_in_words),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
