// How convolutions over one dimension are cut into tiles: from their geometry alone.
#include "internal.h"

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t divided(size_t a, size_t b) { return (a + b - 1) / b; }
static size_t rounded(size_t a, size_t multiple) { return divided(a, multiple) * multiple; }

// Elements between the rows of a tile: room to read a vector past its end, and no power of two, which would put all
// rows on the same few lines of the cache.
size_t lk_conv_pitch(size_t count) {
    size_t pitch = rounded(count + 16, 16);
    return pitch % 128 == 0 ? pitch + 16 : pitch;
}

// Equal tiles of at most `most` positions, a multiple of `unit` each
static size_t tiled(size_t positions, size_t most, size_t unit) {
    most = larger(unit, most / unit * unit);
    return smaller(most, rounded(divided(positions, divided(larger(positions, 1), most)), unit));
}

lk_conv_plan lk_conv_planned(const lk_conv *g) {
    size_t s = g->stride, halo = (g->kernel - 1) / s, cache = 1 << 16;
    lk_conv_plan plan = {.depth = g->inputs};
    size_t span = g->outputExtent;
    if (g->transposed)
        span = (g->padding + g->outputExtent - 1) / s - g->padding / s + 1;
    else
        plan.depth = larger(1, smaller(g->inputs, 1024 / g->kernel));
    size_t width = plan.depth * (g->transposed ? 1 : s);
    size_t most = cache / larger(width, 1);
    plan.positions = tiled(span, most > halo + 32 ? smaller(most - halo - 32, 960) : 48, 48);
    plan.tiles = divided(span, plan.positions);
    plan.span = span;
    plan.tile = width * lk_conv_pitch(plan.positions + halo);
    plan.offsets = rounded(plan.depth * g->kernel, 16);
    plan.scratch = plan.tile + plan.offsets + (g->transposed && s > 1 ? 8 * s * plan.positions : 0);
    return plan;
}

lk_conv_plan lk_conv_planned_gradient(const lk_conv *g) {
    size_t s = g->stride, halo = (g->kernel - 1) / s, cache = 1 << 17;
    lk_conv_plan plan = {.span = g->outputExtent, .positions = tiled(g->outputExtent, 1024, 16)};
    plan.tiles = divided(plan.span, plan.positions);
    size_t pitch = lk_conv_pitch(plan.positions + halo);
    plan.depth = larger(1, smaller(g->inputs, cache / (s * pitch)));
    plan.tile = plan.depth * s * pitch;
    plan.offsets = rounded(plan.depth * g->kernel, 16);
    plan.scratch = plan.tile + plan.offsets;
    return plan;
}

// Strips for the output, or none: the last strip is computed whole, and few channels do not repay the transforms.
static size_t winograd_strips(const lk_conv *g) {
    if (g->stride != 1 || g->kernel < 3 || g->kernel > 7 || g->inputs < 16 || g->outputs < 16) return 0;
    size_t width = (9 - g->kernel) * LK_STRIP, strips = divided(g->outputExtent, width);
    return 4 * g->outputExtent >= 3 * strips * width ? strips : 0;
}

lk_winograd_plan lk_winograd_planned(const lk_conv *g) {
    size_t most = larger(1, (1 << 17) / (8 * LK_STRIP * larger(g->inputs, 1)));
    lk_winograd_plan plan = {.strips = g->inputs <= 512 ? winograd_strips(g) : 0};
    plan.chunk = smaller(larger(plan.strips, 1), most);
    plan.scratch = (8 * plan.chunk * g->inputs + 64) * LK_STRIP + 6 * (LK_STRIP + 16) + rounded(g->inputs, 16);
    return plan;
}

lk_winograd_plan lk_winograd_planned_gradient(const lk_conv *g) {
    size_t channels = g->inputs + g->outputs, most = larger(1, (1 << 18) / (8 * LK_STRIP * larger(channels, 1)));
    lk_winograd_plan plan = {.strips = g->outputs % 16 == 0 && channels <= 1024 ? winograd_strips(g) : 0};
    plan.chunk = smaller(larger(plan.strips, 1), smaller(most, 4));
    plan.scratch =
        plan.chunk * LK_STRIP * (8 * g->inputs + (8 + 6) * (g->outputs + 16)) + 6 * (LK_STRIP + 16);
    return plan;
}
