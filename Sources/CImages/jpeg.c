#include <stdio.h>

#include <jpeglib.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include "internal.h"

// More scans than any encoder writes: each costs as much as the first, and a small file can hold thousands.
enum { SCAN_LIMIT = 100 };

// libjpeg's own error manager prints and exits, so none of it is used; its texts are in jerror.h.
#define JCOPYRIGHT_SHORT ""
#define JVERSION ""
#define JMESSAGE(code, text) text,
static const char *const texts[] = {
#include <jerror.h>
    NULL};
#define JMAKE_ENUM_LIST
#include <jerror.h>

typedef struct jpeg_reader {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    char *message;
    int code;
} jpeg_reader;

static void format_text(j_common_ptr cinfo, char *to) {
    int code = cinfo->err->msg_code;
    const char *text = code > 0 && code < (int)(sizeof texts / sizeof *texts) - 1 ? texts[code] : "unknown error";
    const int *i = cinfo->err->msg_parm.i;
    if (strstr(text, "%s")) snprintf(to, CIMAGES_MESSAGE, "%.20s", "a table is damaged");
    else snprintf(to, CIMAGES_MESSAGE, text, i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7]);
}

static void jpeg_failed(j_common_ptr cinfo) {
    jpeg_reader *reader = cinfo->client_data;
    format_text(cinfo, reader->message);
    reader->code = cinfo->err->msg_code == JERR_OUT_OF_MEMORY ? CIMAGES_MEMORY : CIMAGES_DAMAGED;
    longjmp(reader->failed, 1);
}

// Warnings (level -1) that mean that pixels are missing or guessed end the reading; the others are of no consequence.
static void jpeg_message(j_common_ptr cinfo, int level) {
    if (level >= 0) return;
    jpeg_reader *reader = cinfo->client_data;
    switch (cinfo->err->msg_code) {
        case JWRN_JPEG_EOF: fail(reader->message, CIMAGES_DAMAGED, "the file ends in the middle of the picture; is it cut off?"); break;
        case JWRN_HIT_MARKER:
        case JWRN_HUFF_BAD_CODE:
        case JWRN_ARITH_BAD_CODE:
        case JWRN_MUST_RESYNC: format_text(cinfo, reader->message); break;
        default: return;
    }
    reader->code = CIMAGES_DAMAGED;
    longjmp(reader->failed, 1);
}

static void jpeg_nothing(j_common_ptr cinfo) { (void)cinfo; }
static void jpeg_no_text(j_common_ptr cinfo, char *to) {
    (void)cinfo;
    *to = 0;
}
static void jpeg_reset(j_common_ptr cinfo) { cinfo->err->num_warnings = cinfo->err->msg_code = 0; }

static void jpeg_scan(j_common_ptr cinfo) {
    jpeg_reader *reader = cinfo->client_data;
    if (reader->cinfo.input_scan_number <= SCAN_LIMIT) return;
    fail(reader->message, CIMAGES_DAMAGED, "more than 100 scans, as no encoder writes them");
    reader->code = CIMAGES_DAMAGED;
    longjmp(reader->failed, 1);
}

static void jpeg_open(jpeg_reader *reader, const uint8_t *data, size_t size) {
    reader->errors = (struct jpeg_error_mgr){
        .error_exit = jpeg_failed, .emit_message = jpeg_message, .output_message = jpeg_nothing,
        .format_message = jpeg_no_text, .reset_error_mgr = jpeg_reset};
    reader->cinfo.err = &reader->errors;
    reader->cinfo.client_data = reader;
    jpeg_create_decompress(&reader->cinfo);
    reader->progress.progress_monitor = jpeg_scan;
    reader->cinfo.progress = &reader->progress;
    jpeg_mem_src(&reader->cinfo, data, size);
    jpeg_read_header(&reader->cinfo, TRUE);
}

static int jpeg_supported(jpeg_reader *reader) {
    const struct jpeg_decompress_struct *c = &reader->cinfo;
    if (c->num_components == 1 || c->num_components == 3 || c->num_components == 4) return CIMAGES_OK;
    return fail(reader->message, CIMAGES_UNSUPPORTED, "a JPEG of neither 1, 3 nor 4 components");
}

static jpeg_reader *jpeg_new(char *message) {
    jpeg_reader *reader = calloc(1, sizeof *reader);
    if (reader) reader->message = message;
    else fail(message, CIMAGES_MEMORY, "no memory to read it");
    return reader;
}

int jpeg_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) {
    jpeg_reader *reader = jpeg_new(message);
    if (!reader) return CIMAGES_MEMORY;
    volatile int code = CIMAGES_OK;
    if (setjmp(reader->failed) == 0) {
        jpeg_open(reader, data, size);
        const struct jpeg_decompress_struct *c = &reader->cinfo;
        header->width = c->image_width;
        header->height = c->image_height;
        // Some rows; of a picture in several scans all coefficients, in whole blocks of up to 32 x 32 pixels.
        double width = c->image_width + 32.0, height = c->image_height + 32.0;
        bool whole = jpeg_has_multiple_scans(&reader->cinfo);
        header->scratch = 400.0 * width + (whole ? 2.0 * c->num_components * width * height : 0) + 0x1p20;
        code = jpeg_supported(reader);
    } else {
        code = reader->code;
    }
    jpeg_destroy_decompress(&reader->cinfo);
    free(reader);
    return code;
}

// (a b) / 255, rounded, as Pillow does it.
static inline uint32_t scaled(uint32_t a, uint32_t b) {
    uint32_t t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

// Four inks, stored inverted as Adobe has it; Pillow's arithmetic.
static void take_cmyk(const uint8_t *from, uint8_t *to, size_t count) {
    for (size_t i = 0; i < count; i++, from += 4, to += 3) {
        uint32_t light = from[3];
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)(light - scaled(255 - from[c], light));
    }
}

static void jpeg_read(jpeg_reader *reader, const cimages_header *header, uint8_t *rgb) {
    struct jpeg_decompress_struct *c = &reader->cinfo;
    bool inks = c->num_components == 4, grey = c->num_components == 1;
    c->out_color_space = inks ? JCS_CMYK : grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(c);
    size_t width = c->output_width, channels = inks ? 4 : grey ? 1 : 3;
    if (width != header->width || c->output_height != header->height || (size_t)c->output_components != channels) {
        reader->code = fail(reader->message, CIMAGES_DAMAGED, "its size changed while it was read");
        longjmp(reader->failed, 1);
    }
    JSAMPARRAY row = (*c->mem->alloc_sarray)((j_common_ptr)c, JPOOL_IMAGE, (JDIMENSION)(width * channels), 1);
    while (c->output_scanline < c->output_height) {
        uint8_t *to = rgb + (size_t)c->output_scanline * width * 3;
        if (jpeg_read_scanlines(c, row, 1) != 1) break;
        if (inks) take_cmyk(row[0], to, width);
        else if (grey) for (size_t x = 0; x < width; x++) memset(to + 3 * x, row[0][x], 3);
        else memcpy(to, row[0], 3 * width);
    }
}

int jpeg_decode(const uint8_t *data, size_t size, const cimages_header *header, uint8_t *rgb, char *message) {
    jpeg_reader *reader = jpeg_new(message);
    if (!reader) return CIMAGES_MEMORY;
    volatile int code = CIMAGES_OK;
    if (setjmp(reader->failed) == 0) {
        jpeg_open(reader, data, size);
        code = jpeg_supported(reader);
        if (code == CIMAGES_OK) jpeg_read(reader, header, rgb);
    } else {
        code = reader->code;
    }
    jpeg_destroy_decompress(&reader->cinfo);
    free(reader);
    return code;
}
