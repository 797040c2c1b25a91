#ifndef LORAGEN_H
#define LORAGEN_H
#ifdef __cplusplus
extern "C" {
#endif
const char *loragen_version(void);
#ifdef __cplusplus
}
#endif
#endif
