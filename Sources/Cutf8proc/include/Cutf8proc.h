// Unicode's normal forms, categories and case, from the utf8proc that is linked in.
#ifndef CUTF8PROC_H
#define CUTF8PROC_H
#define UTF8PROC_STATIC
#include <utf8proc.h>
#endif
