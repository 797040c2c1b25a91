// sync_file_range(2), which Swift's Glibc does not show.
#ifndef LORAGEN_SYNC_H
#define LORAGEN_SYNC_H
int lgo_sync_file_range(int descriptor, long offset, long count, unsigned flags) __asm__("sync_file_range");
enum { LGO_SYNC_FILE_RANGE_WRITE = 2 };
#endif
