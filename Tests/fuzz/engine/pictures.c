/* Pictures, and the folders of their encoders. */
#include "targets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const uint8_t rows[3 * 5 * 7] = {200, 30, 90, 7};

/* Of a tower of 8 numbers; every vector that is made is finite. */
static void encode(struct input *input, const loragen_image_encoder *encoder, loragen_picture *picture) {
    float vector[64];
    if (loragen_image_encoder_width(encoder) > 64) { return; }
    const loragen_picture *pictures[1] = {picture};
    if (loragen_image_encoder_encode(encoder, pictures, 1, vector) != LORAGEN_OK) {
        must(*loragen_last_error() != 0, "a message");
        return;
    }
    for (size_t i = 0; i < loragen_image_encoder_width(encoder); i++) { must(isfinite(vector[i]), "finite numbers"); }
    if (choose(input, 4)) { return; }
    size_t tokens = 0;
    must(loragen_image_encoder_states(encoder, picture, 0, NULL, 0, &tokens) == LORAGEN_OK && tokens > 0, "states");
}

/* The bytes of a picture. */
void fuzz_picture(struct input *input) {
    static loragen_image_encoder *encoder;
    if (!encoder) {
        keep(1);
        must(loragen_image_encoder_open(&encoder, in_seeds("../EncodersTests/Golden/vision/clip")) == LORAGEN_OK,
             "the encoder");
        keep(0);
    }
    loragen_picture picture = LORAGEN_PICTURE_INIT;
    picture.file = input->bytes;
    picture.file_size = input->count;
    picture.as_stored = (int32_t)choose(input, 2);
    picture.drop_alpha = (int32_t)choose(input, 2);
    picture.pixel_limit = 1 << 18;
    encode(input, encoder, &picture);
}

/* config.json, preprocessor_config.json and model.safetensors. */
void fuzz_image_folder(struct input *input) {
    struct part parts[PARTS] = {{0}};
    if (split_parts(input->bytes, input->count, parts) < 3) { return; }
    mkdir(in_work("folder"), 0755);
    place(in_work("folder/config.json"), parts[0].bytes, parts[0].count);
    place(in_work("folder/preprocessor_config.json"), parts[1].bytes, parts[1].count);
    place(in_work("folder/model.safetensors"), parts[2].bytes, parts[2].count);
    loragen_image_encoder *encoder;
    if (loragen_image_encoder_open(&encoder, in_work("folder")) == LORAGEN_OK) {
        must(*loragen_image_encoder_json(encoder), "what it is");
        loragen_picture picture = LORAGEN_PICTURE_INIT;
        picture.rgb = rows;
        picture.width = 7;
        picture.height = 5;
        encode(input, encoder, &picture);
    }
    loragen_image_encoder_free(encoder);
}
