/* Counts the calls by which a process changes a disk or tells a server, and kills it at one of them.

   Loaded by LD_PRELOAD into the program `killed_runs.py`, whose forked children call
   `boundaries_arm`. The calls: write and pwrite to a file, fsync and fdatasync, rename, unlink,
   ftruncate, mkdir, and send to a socket of the internet. Of a write there are two boundaries:
   before it, and when half of it is done.

   cc -shared -fPIC -O2 -o boundaries.so boundaries.c -ldl
*/

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static pid_t owner = 0; /* A process that it forks has a count of its own: none. */
static atomic_long count = 0;
static long last = 0;

/* Count from now on, and kill this process at the boundary of that number; 0: at none. */
void boundaries_arm(long number) { count = 0; last = number; owner = getpid(); }

/* Stop counting, and return how many boundaries there were. */
long boundaries_disarm(void) { owner = 0; return count; }

static int here(void) { return owner != 0 && owner == getpid(); }

static int is_last(void) { return atomic_fetch_add(&count, 1) + 1 == last; }

static void boundary(void) { if (here() && is_last()) kill(getpid(), SIGKILL); }

static int counts(int descriptor) {
    struct stat about;
    return here() && fstat(descriptor, &about) == 0
        && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode));
}

static int is_internet(int descriptor) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    return here() && getsockname(descriptor, (struct sockaddr *)&address, &size) == 0
        && (address.ss_family == AF_INET || address.ss_family == AF_INET6);
}

#define REAL(name, type, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

ssize_t write(int descriptor, const void *bytes, size_t size) {
    REAL("write", ssize_t, int, const void *, size_t);
    if (counts(descriptor)) {
        boundary();
        if (is_last()) { real(descriptor, bytes, size / 2); kill(getpid(), SIGKILL); }
    }
    return real(descriptor, bytes, size);
}

#define PWRITE(name) \
ssize_t name(int descriptor, const void *bytes, size_t size, off_t offset) { \
    REAL(#name, ssize_t, int, const void *, size_t, off_t); \
    if (counts(descriptor)) { \
        boundary(); \
        if (is_last()) { real(descriptor, bytes, size / 2, offset); kill(getpid(), SIGKILL); } \
    } \
    return real(descriptor, bytes, size, offset); \
}
PWRITE(pwrite)
PWRITE(pwrite64)

#define ON_DESCRIPTOR(name) \
int name(int descriptor) { \
    REAL(#name, int, int); \
    if (counts(descriptor)) boundary(); \
    return real(descriptor); \
}
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)

#define TRUNCATE(name) \
int name(int descriptor, off_t size) { \
    REAL(#name, int, int, off_t); \
    if (counts(descriptor)) boundary(); \
    return real(descriptor, size); \
}
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int rename(const char *from, const char *to) {
    REAL("rename", int, const char *, const char *);
    boundary();
    return real(from, to);
}

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    boundary();
    return real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int, const char *, mode_t);
    boundary();
    return real(path, mode);
}

ssize_t send(int socket, const void *bytes, size_t size, int flags) {
    REAL("send", ssize_t, int, const void *, size_t, int);
    if (is_internet(socket)) boundary();
    return real(socket, bytes, size, flags);
}

ssize_t sendto(int socket, const void *bytes, size_t size, int flags,
               const struct sockaddr *to, socklen_t length) {
    REAL("sendto", ssize_t, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    if (is_internet(socket)) boundary();
    return real(socket, bytes, size, flags, to, length);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    REAL("sendmsg", ssize_t, int, const struct msghdr *, int);
    if (is_internet(socket)) boundary();
    return real(socket, message, flags);
}
