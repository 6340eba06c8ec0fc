/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <inttypes.h>

#define WIDTH 960u
#define HEIGHT 420u
#define LEFT 60u
#define TOP 30u
#define PLOT_WIDTH (WIDTH - LEFT - 20)
#define PLOT_HEIGHT (HEIGHT - TOP - 50)
#define SVG_POINTS_MAX 2000u

static int compare_nsec(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void print_steps(FILE *file, const struct replay_result *r)
{
    guint n = r->step_nsec->len;

    g_array_sort(r->step_nsec, compare_nsec);
    fprintf(file, "steps: %u\n", n);
    fprintf(file, "step_ns_p50: %" PRIu32 "\n", n > 0 ? g_array_index(r->step_nsec, uint32_t, n / 2) : 0);
    fprintf(file, "step_ns_max: %" PRIu32 "\n", n > 0 ? g_array_index(r->step_nsec, uint32_t, n - 1) : 0);
}

static void print_seconds(FILE *file, const char *name, uint64_t usec)
{
    fprintf(file, "%s: %" PRIu64 ".%02" PRIu64 "\n", name, usec / USEC_PER_SEC, usec % USEC_PER_SEC / 10000);
}

void output_print(FILE *file, const struct replay_result *r)
{
    uint64_t tenths = (uint64_t)(r->footprint * 10 / ((unsigned __int128)GIB(1) * 60 * USEC_PER_SEC));

    fprintf(file, "footprint_gib_min: %" PRIu64 ".%" PRIu64 "\n", tenths / 10, tenths % 10);
    print_seconds(file, "shortfall_s", r->shortfall_usec);
    fprintf(file, "shortfall_max_bytes: %" PRIu64 "\n", r->shortfall_max);
    print_seconds(file, "held_s", r->held_usec);
    print_seconds(file, "held_max_s", r->held_max);
    fprintf(file, "resizes: %" PRIu64 "\n", r->grows + r->shrinks);
    fprintf(file, "grows: %" PRIu64 "\n", r->grows);
    fprintf(file, "shrinks: %" PRIu64 "\n", r->shrinks);
    fprintf(file, "peak_bytes: %" PRIu64 "\n", r->peak);
    fprintf(file, "idle_bytes_150s_after_peak_phase: %" PRIu64 "\n", r->idle_bytes);
    print_steps(file, r);
}

/* fclose() reports a full disk at the latest. */
static int close_file(FILE *file)
{
    bool bad = ferror(file);

    if (fclose(file) != 0)
        return -errno;
    return bad ? -EIO : 0;
}

int output_csv(const char *path, const struct replay_result *r)
{
    FILE *file = fopen(path, "we");

    if (!file)
        return -errno;
    (void)fputs("time_s,used_bytes,cached_bytes,held_bytes,requested_bytes,available_bytes,waiting_bytes\n",
            file);
    for (guint i = 0; i < r->points->len; i++) {
        const struct replay_point *p = &g_array_index(r->points, struct replay_point, i);

        fprintf(file,
                "%" PRIu64 ".%06" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
                ",%" PRIu64 "\n",
                p->time / USEC_PER_SEC, p->time % USEC_PER_SEC, p->used, p->cached, p->held, p->requested,
                p->available, p->waiting);
    }
    return close_file(file);
}

struct curve {
    const char *name;
    const char *colour;
    size_t first; /* offsets in a point; the curve is their sum */
    size_t second;
};

#define NONE SIZE_MAX

static const struct curve curves[] = {
    { "held (boot + size)", "#c02020", offsetof(struct replay_point, held), NONE },
    { "used + page cache", "#9db8d8", offsetof(struct replay_point, used),
            offsetof(struct replay_point, cached) },
    { "used", "#2060a0", offsetof(struct replay_point, used), NONE },
};

static uint64_t value_of(const struct curve *c, const struct replay_point *p)
{
    uint64_t first, second = 0;

    memcpy(&first, (const char *)p + c->first, sizeof(first));
    if (c->second != NONE)
        memcpy(&second, (const char *)p + c->second, sizeof(second));
    return first + second;
}

static uint64_t scaled(uint64_t value, uint64_t most, uint64_t pixels)
{
    return (uint64_t)((unsigned __int128)value * pixels / MAX_OF(most, 1));
}

static void draw_curve(
        FILE *file, const struct curve *c, const struct replay_result *r, uint64_t most, uint64_t end)
{
    guint every = r->points->len / SVG_POINTS_MAX + 1;

    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", c->colour);
    for (guint i = 0; i < r->points->len; i += every) {
        const struct replay_point *p = &g_array_index(r->points, struct replay_point, i);

        fprintf(file, "%" PRIu64 ",%" PRIu64 " ", LEFT + scaled(p->time, end, PLOT_WIDTH),
                TOP + PLOT_HEIGHT - scaled(value_of(c, p), most, PLOT_HEIGHT));
    }
    fprintf(file, "\"><title>%s</title></polyline>\n", c->name);
}

static void draw_axes(FILE *file, uint64_t most, uint64_t end)
{
    for (uint64_t i = 0; i <= 4; i++) {
        uint64_t y = TOP + PLOT_HEIGHT - i * PLOT_HEIGHT / 4, x = LEFT + i * PLOT_WIDTH / 4;
        uint64_t tenths = most / 4 * i / (GIB(1) / 10);

        fprintf(file, "<line x1=\"%u\" x2=\"%u\" y1=\"%" PRIu64 "\" y2=\"%" PRIu64 "\" stroke=\"#ddd\"/>\n",
                LEFT, LEFT + PLOT_WIDTH, y, y);
        fprintf(file, "<text x=\"%u\" y=\"%" PRIu64 "\" text-anchor=\"end\">%" PRIu64 ".%" PRIu64 "</text>\n",
                LEFT - 6, y + 4, tenths / 10, tenths % 10);
        fprintf(file, "<text x=\"%" PRIu64 "\" y=\"%u\" text-anchor=\"middle\">%" PRIu64 " s</text>\n", x,
                TOP + PLOT_HEIGHT + 18, end / 4 * i / USEC_PER_SEC);
    }
    fprintf(file, "<text x=\"6\" y=\"%u\">GiB</text>\n", TOP - 12);
}

int output_plot(const char *path, const struct replay_result *r)
{
    FILE *file = fopen(path, "we");
    uint64_t most = 0, end = 0;

    if (!file)
        return -errno;
    for (guint i = 0; i < r->points->len; i++) {
        const struct replay_point *p = &g_array_index(r->points, struct replay_point, i);

        most = MAX_OF(most, MAX_OF(p->held, p->used + p->cached));
        end = MAX_OF(end, p->time);
    }
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" font-family=\"sans-serif\" "
            "font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT);
    draw_axes(file, most, end);
    for (size_t i = 0; i < ELEMENTSOF(curves); i++) {
        draw_curve(file, &curves[ELEMENTSOF(curves) - 1 - i], r, most, end);
        fprintf(file, "<text x=\"%zu\" y=\"%u\" fill=\"%s\">%s</text>\n", LEFT + 40 + i * 180, TOP - 12,
                curves[i].colour, curves[i].name);
    }
    (void)fputs("</svg>\n", file);
    return close_file(file);
}
