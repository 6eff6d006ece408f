/* Stands between a program and its disk (LD_PRELOAD). What it does to a file below HANGING_DISK
 * waits for as long as the file HANGING_DISK_GATE exists; each write and sync takes
 * HANGING_DISK_MS milliseconds besides. Who waits leaves its path in HANGING_DISK_GATE.met. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (syscall(SYS_nanosleep, &time, &time) != 0 && errno == EINTR) {}
}

static int gate_exists(const char *gate) {
    return syscall(SYS_faccessat, AT_FDCWD, gate, F_OK) == 0;
}

static void leave_word(const char *gate, const char *path) {
    char met[4096];
    if (snprintf(met, sizeof met, "%s.met", gate) >= (int)sizeof met) return;
    int file = syscall(SYS_openat, AT_FDCWD, met, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0) return;
    struct iovec line[2] = {{(void *)path, strlen(path)}, {"\n", 1}};
    syscall(SYS_writev, file, line, 2);
    syscall(SYS_close, file);
}

static void meet(const char *path, int is_write) {
    const char *root = getenv("HANGING_DISK"), *gate = getenv("HANGING_DISK_GATE");
    const char *ms = getenv("HANGING_DISK_MS");
    if (root == NULL || gate == NULL || strncmp(path, root, strlen(root)) != 0) return;
    int before = errno;
    if (gate_exists(gate)) {
        leave_word(gate, path);
        while (gate_exists(gate)) pause_ms(5);
    }
    if (is_write && ms != NULL) pause_ms(atol(ms));
    errno = before;
}

static void meet_open(int file, int is_write) {
    char link[64], path[4096];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (len <= 0) return;
    path[len] = 0;
    meet(path, is_write);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    REAL(open);
    MODE(flags);
    meet(path, 0);
    return real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE(flags);
    meet(path, 0);
    return real(path, flags, mode);
}
ssize_t read(int file, void *to, size_t len) {
    REAL(read);
    meet_open(file, 0);
    return real(file, to, len);
}
ssize_t pread64(int file, void *to, size_t len, off64_t at) {
    REAL(pread64);
    meet_open(file, 0);
    return real(file, to, len, at);
}
ssize_t write(int file, const void *from, size_t len) {
    REAL(write);
    meet_open(file, 1);
    return real(file, from, len);
}
ssize_t pwrite64(int file, const void *from, size_t len, off64_t at) {
    REAL(pwrite64);
    meet_open(file, 1);
    return real(file, from, len, at);
}
int fsync(int file) {
    REAL(fsync);
    meet_open(file, 1);
    return real(file);
}
int fdatasync(int file) {
    REAL(fdatasync);
    meet_open(file, 1);
    return real(file);
}
int rename(const char *from, const char *to) {
    REAL(rename);
    meet(to, 0);
    return real(from, to);
}
int unlink(const char *path) {
    REAL(unlink);
    meet(path, 0);
    return real(path);
}
