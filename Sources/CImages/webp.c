#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>
#include "internal.h"

int webp_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) {
    WebPBitstreamFeatures features;
    VP8StatusCode status = WebPGetFeatures(data, size, &features);
    if (status == VP8_STATUS_NOT_ENOUGH_DATA) return fail(message, CIMAGES_DAMAGED, "the header of the WebP is cut off");
    if (status != VP8_STATUS_OK) return fail(message, CIMAGES_DAMAGED, "the header of the WebP is damaged");
    header->width = (uint32_t)features.width;
    header->height = (uint32_t)features.height;
    // Two canvases, the decoder's own pixels and its alpha plane.
    header->scratch = 20.0 * header->width * header->height + 0x1p21;
    return CIMAGES_OK;
}

int webp_decode(const uint8_t *data, size_t size, const cimages_header *header, bool on_white, uint8_t *rgb, char *message) {
    WebPAnimDecoderOptions options;
    WebPData input = {data, size};
    if (!WebPAnimDecoderOptionsInit(&options)) return fail(message, CIMAGES_UNSUPPORTED, "another version of libwebp");
    options.color_mode = MODE_RGBA;
    options.use_threads = 0;
    WebPAnimDecoder *decoder = WebPAnimDecoderNew(&input, &options);
    if (!decoder) return fail(message, CIMAGES_DAMAGED, "the WebP is damaged or cut off");
    WebPAnimInfo info;
    uint8_t *pixels = NULL;
    int time, code = CIMAGES_OK;
    if (!WebPAnimDecoderGetInfo(decoder, &info) || info.canvas_width != header->width || info.canvas_height != header->height)
        code = fail(message, CIMAGES_DAMAGED, "its canvas has another size than its header says");
    else if (!WebPAnimDecoderGetNext(decoder, &pixels, &time))
        code = fail(message, CIMAGES_DAMAGED, "the pixels of the WebP are damaged or cut off");
    else
        take_rgba(pixels, rgb, (size_t)info.canvas_width * info.canvas_height, on_white);
    WebPAnimDecoderDelete(decoder);
    return code;
}
