// dladdr(3), which the C library declares under _GNU_SOURCE only and Swift therefore does not see.
#ifndef LGO_DLADDR_H
#define LGO_DLADDR_H
typedef struct {
    const char *dli_fname; // path of the file that the address is in
    void *dli_fbase;
    const char *dli_sname;
    void *dli_saddr;
} lgo_dl_info;
int dladdr(const void *address, lgo_dl_info *info);
#endif
