#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include "internal.h"

// The 13 bytes of IHDR stand at a fixed place; libpng checks them again.
int png_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) {
    if (size < 33 || memcmp(data + 12, "IHDR", 4) != 0) return fail(message, CIMAGES_DAMAGED, "the header of the PNG is cut off");
    const uint8_t *at = data + 16;
    header->width = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    header->height = (uint32_t)at[4] << 24 | (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7];
    // Rows in libpng's own buffers; an interlaced picture is held whole, four bytes a pixel, and a pointer to each row.
    bool interlaced = at[12] != 0;
    header->scratch = 64.0 * header->width + (interlaced ? 4.0 * header->width * header->height + 8.0 * header->height : 0) + 0x1p20;
    return CIMAGES_OK;
}

typedef struct png_input {
    const uint8_t *next;
    size_t left;
    jmp_buf failed;
    char *message;
    int code;
} png_input;

static void png_failed(png_structp png, png_const_charp text) {
    png_input *input = png_get_error_ptr(png);
    fail(input->message, CIMAGES_DAMAGED, text);
    longjmp(input->failed, 1);
}

static void png_silent(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static void png_take(png_structp png, png_bytep to, size_t count) {
    png_input *input = png_get_io_ptr(png);
    if (count > input->left) png_error(png, "the file ends in the middle of the picture; is it cut off?");
    memcpy(to, input->next, count);
    input->next += count;
    input->left -= count;
}

// Grey of 16 bits as Pillow turns it into 8: values above 255 are 255.
static void take_grey16(const uint8_t *from, uint8_t *to, size_t count) {
    for (size_t i = 0; i < count; i++) memset(to + 3 * i, from[2 * i] ? 255 : from[2 * i + 1], 3);
}

typedef struct png_work {
    png_structp png;
    png_infop info;
    uint8_t *pixels;
    png_bytep *rows;
} png_work;

// Everything that may jump out; what is allocated is in `work`.
static void png_read(png_input *input, png_work *work, const cimages_header *header, bool on_white, uint8_t *rgb) {
    png_structp png = work->png;
    png_infop info = work->info;
    png_set_read_fn(png, input, png_take);
    png_set_user_limits(png, header->width, header->height);
    png_set_chunk_malloc_max(png, 1 << 20);
    // Chunks that say nothing of the pixels are not unpacked: some grow a thousandfold.
    static const png_byte ignored[] = "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0sBIT\0sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0zTXt";
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, ignored, sizeof ignored / 5);
    png_read_info(png, info);
    png_uint_32 width, height;
    int depth, colour, interlace;
    png_get_IHDR(png, info, &width, &height, &depth, &colour, &interlace, NULL, NULL);
    if (width != header->width || height != header->height) png_error(png, "its size changed while it was read");
    bool grey16 = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
    bool has_alpha = !grey16 && on_white && ((colour & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, info, PNG_INFO_tRNS));
    if (!grey16) {
        if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(png);
        if (has_alpha && png_get_valid(png, info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(png);
        png_set_strip_16(png);
        if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
        if (!has_alpha) png_set_strip_alpha(png);
    }
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    size_t row_bytes = png_get_rowbytes(png, info), wanted = (size_t)width * (grey16 ? 2 : has_alpha ? 4 : 3);
    if (row_bytes != wanted) png_error(png, "its rows have another length than their pixels");
    if (passes > 1 && height > SIZE_MAX / row_bytes) png_error(png, "too large");
    work->pixels = malloc(passes > 1 ? row_bytes * height : row_bytes);
    if (passes > 1) work->rows = malloc(height * sizeof *work->rows);
    if (!work->pixels || (passes > 1 && !work->rows)) {
        input->code = CIMAGES_MEMORY;
        png_error(png, "no memory for its rows");
    }
    if (passes > 1) {
        for (size_t y = 0; y < height; y++) work->rows[y] = work->pixels + y * row_bytes;
        png_read_image(png, work->rows);
    }
    for (size_t y = 0; y < height; y++) {
        uint8_t *row = work->pixels, *to = rgb + y * width * 3;
        if (passes > 1) row = work->rows[y];
        else png_read_row(png, !grey16 && !has_alpha ? to : row, NULL);
        if (grey16) take_grey16(row, to, width);
        else if (has_alpha) take_rgba(row, to, width, true);
        else if (passes > 1) memcpy(to, row, row_bytes);
    }
}

int png_decode(const uint8_t *data, size_t size, const cimages_header *header, bool on_white, uint8_t *rgb, char *message) {
    png_input input = {.next = data, .left = size, .message = message, .code = CIMAGES_DAMAGED};
    png_work *work = calloc(1, sizeof *work);
    if (!work) return fail(message, CIMAGES_MEMORY, "no memory to read it");
    volatile int code = CIMAGES_OK;
    if (setjmp(input.failed) == 0) {
        work->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, png_failed, png_silent);
        if (work->png) work->info = png_create_info_struct(work->png);
        if (!work->info) code = fail(message, CIMAGES_MEMORY, "no memory to read it");
        else png_read(&input, work, header, on_white, rgb);
    } else {
        code = input.code;
    }
    png_destroy_read_struct(&work->png, &work->info, NULL);
    free(work->pixels);
    free(work->rows);
    free(work);
    return code;
}
