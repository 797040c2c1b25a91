// sync_file_range(2), renameat2(2) and statfs(2), which Swift's Glibc does not show.
#ifndef LORAGEN_SYNC_H
#define LORAGEN_SYNC_H
int lgo_sync_file_range(int descriptor, long offset, long count, unsigned flags) __asm__("sync_file_range");
int lgo_renameat2(int folder, const char *from, int other, const char *to, unsigned flags) __asm__("renameat2");
// struct statfs has 15 longs, of which the first is f_type.
enum { LGO_STATFS_LONGS = 32 };
int lgo_statfs(const char *path, long *longs) __asm__("statfs");
enum { LGO_SYNC_FILE_RANGE_WRITE = 2, LGO_RENAME_EXCHANGE = 2 };
#endif
