// What the decoders share.
#ifndef CIMAGES_INTERNAL_H
#define CIMAGES_INTERNAL_H
#include "CImages.h"

int fail(char *message, int code, const char *text) CIMAGES_API;
// count pixels of four bytes to three.
void take_rgba(const uint8_t *from, uint8_t *to, size_t count, bool on_white) CIMAGES_API;

int png_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) CIMAGES_API;
int png_decode(const uint8_t *data, size_t size, const cimages_header *header, bool on_white, uint8_t *rgb,
               char *message) CIMAGES_API;
int jpeg_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) CIMAGES_API;
int jpeg_decode(const uint8_t *data, size_t size, const cimages_header *header, uint8_t *rgb, char *message) CIMAGES_API;
int webp_probe(const uint8_t *data, size_t size, cimages_header *header, char *message) CIMAGES_API;
int webp_decode(const uint8_t *data, size_t size, const cimages_header *header, bool on_white, uint8_t *rgb,
                char *message) CIMAGES_API;
#endif
