// Makes one allocation of the library fail, for short_memory.py:
//
//   g++ -shared -fPIC failing.cpp -o failing.so; LD_PRELOAD=$PWD/failing.so python3 short_memory.py ... --failing 40
//
// Of libloragen.so those of tensors (aligned_alloc, mmap, mremap), of mapped files and of threads; of its ONNX part and what
// that stands on, every one. Swift's runtime takes the small objects by malloc and ends the process where it gets none
// (SECURITY.md), so malloc is left alone.
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" void *__libc_malloc(size_t bytes);
extern "C" void *__libc_memalign(size_t alignment, size_t bytes);

static std::atomic<bool> watching;
static std::atomic<long> seen, first, last;

// From now on allocations `from` ..< `to` fail, counted from 0.
extern "C" void failing_start(long from, long to) {
    seen = 0, first = from, last = to;
    watching = true;
}

// Returns how many there were.
extern "C" long failing_stop() {
    watching = false;
    return seen;
}

static bool fails(const void *caller, bool in_onnx) {
    Dl_info info;
    if (!watching || !dladdr(caller, &info) || !info.dli_fname) return false;
    const bool is_onnx = strstr(info.dli_fname, "libloragen_onnx") || strstr(info.dli_fname, "libonnx")
                         || strstr(info.dli_fname, "libprotobuf");
    if (in_onnx ? !is_onnx : !strstr(info.dli_fname, "libloragen.so")) return false;
    const long number = seen++;
    return number >= first && number < last;
}

#define FAILS(in_onnx) fails(__builtin_return_address(0), in_onnx)

static void *mapped(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    return reinterpret_cast<void *>(syscall(SYS_mmap, at, bytes, protection, flags, file, offset));
}

extern "C" void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) noexcept {
    if (FAILS(false)) return errno = ENOMEM, MAP_FAILED;
    return mapped(at, bytes, protection, flags, file, offset);
}

extern "C" void *mmap64(void *at, size_t bytes, int protection, int flags, int file, off64_t offset) noexcept {
    if (FAILS(false)) return errno = ENOMEM, MAP_FAILED;
    return mapped(at, bytes, protection, flags, file, offset);
}

extern "C" void *mremap(void *old, size_t bytes, size_t wanted, int flags, ...) noexcept {
    va_list rest;
    va_start(rest, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : nullptr;
    va_end(rest);
    if (FAILS(false)) return errno = ENOMEM, MAP_FAILED;
    return reinterpret_cast<void *>(syscall(SYS_mremap, old, bytes, wanted, flags, to));
}

extern "C" void *aligned_alloc(size_t alignment, size_t bytes) noexcept {
    return FAILS(false) ? nullptr : __libc_memalign(alignment, bytes);
}

extern "C" int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *payload) noexcept {
    static const auto next = reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
    return FAILS(false) ? EAGAIN : next(thread, attributes, body, payload);
}

void *operator new(size_t bytes) {
    void *memory = FAILS(true) ? nullptr : __libc_malloc(bytes ? bytes : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}

void *operator new[](size_t bytes) {
    void *memory = FAILS(true) ? nullptr : __libc_malloc(bytes ? bytes : 1);
    if (!memory) throw std::bad_alloc();
    return memory;
}
