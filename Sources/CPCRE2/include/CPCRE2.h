// Regular expressions of 8-bit units (UTF-8), from the PCRE2 that is linked in.
#ifndef CPCRE2_H
#define CPCRE2_H
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif
