/* What the C hosts of the tests share: claims that are counted, so that one run shows all that fail. */
#ifndef CLAIM_H
#define CLAIM_H

#include <loragen.h>
#include <stdio.h>
#include <string.h>

static int claim_failures;

static void claim_(int holds, const char *text, const char *file, int line) {
    if (holds) { return; }
    claim_failures++;
    fprintf(stderr, "%s:%d: not so: %s (last error: %s)\n", file, line, text, loragen_last_error());
}

#define CLAIM(condition) claim_((condition) != 0, #condition, __FILE__, __LINE__)

/* The call fails with that status, and says something. */
#define FAILS(status, call) \
    do { \
        const loragen_status given_ = (call); \
        claim_(given_ == (status) && *loragen_last_error(), #call " fails with " #status, __FILE__, __LINE__); \
        if (given_ != (status)) { fprintf(stderr, "    status: %s\n", loragen_status_name(given_)); } \
    } while (0)

/* The call fails, with any status. */
#define REFUSES(call) claim_((call) != LORAGEN_OK && *loragen_last_error(), #call " is refused", __FILE__, __LINE__)

static int claim_result(const char *title) {
    if (claim_failures == 0) { printf("ok    %s\n", title); }
    return claim_failures != 0;
}

#endif
