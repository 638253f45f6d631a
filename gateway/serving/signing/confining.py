"""What the signer may ask the kernel for once its keys and its socket are open: a list, and nothing else.

No file is opened to be written, no socket and no process is made, nothing is executed, nobody is traced and
nothing is renamed or removed: whoever takes it over by what it is asked finds nothing to go on with. The
names become a filter (seccomp) by libseccomp, which knows their numbers on each machine and is on every one
that has apt or systemd.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import resource
from collections.abc import Sequence

log = logging.getLogger("sekisho.signer")

_LIBRARY = "libseccomp.so.2"
# seccomp.h of libseccomp 2.
_ALLOW, _ERRNO, _MASKED_EQUAL, _TSYNC = 0x7FFF0000, 0x00050000, 7, 4
_CLONE_THREAD = 0x10000
#: Bytes to which a file may grow: nothing of the signer's is larger (`ca.remembered`, `ca.memory`, `Tally`),
#: nor is the part of a register's index (-shm) that a reader adds.
_LARGEST = 1 << 27

#: What is allowed, whatever it is asked with.
ALLOWED = (
    # Memory, time and randomness.
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mlock", "munlock", "mlock2",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    "timerfd_settime", "getrandom",
    # Threads of its own and signals to itself; the guardian sends what ends it.
    "futex", "set_robust_list", "get_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid",
    "getpid", "getppid", "tgkill", "membarrier", "set_tid_address", "arch_prctl", "exit", "exit_group",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    # What is open already: the socket, the register, its own memory.
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "lseek", "close", "fsync",
    "fdatasync", "fstat", "newfstatat", "stat", "lstat", "statx", "fstatfs", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "getdents64", "fcntl", "dup", "dup2",
    "dup3", "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl",
    "eventfd2", "accept", "accept4", "recvfrom", "recvmsg", "sendto", "sendmsg", "shutdown", "getsockopt",
    "getsockname", "getpeername",
    # Who and how much it is.
    "getuid", "geteuid", "getgid", "getegid", "getrusage", "uname", "sysinfo",
)  # fmt: skip
_TO_CHANGE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FIONBIO = 0x5421  # <asm-generic/ioctls.h>
#: What is allowed only with an argument (counted from 0) that has a value where a mask has ones.
ALLOWED_WITH = {
    "open": (1, _TO_CHANGE, 0),
    "openat": (2, _TO_CHANGE, 0),
    # A thread, and no process.
    "clone": (0, _CLONE_THREAD, _CLONE_THREAD),
    # What was accepted does not block.
    "ioctl": (1, 0xFFFFFFFF, _FIONBIO),
}
#: What is told to be unknown, so that the C library asks in the old way, which a filter can look into.
UNKNOWN = ("clone3", "openat2")


class Unconfined(Exception):
    """There is no filter here; the message says why."""


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
    )


def confine() -> str:
    """Confines this process and all of its threads, for good; "" or why it is not.

    Limits of the kernel's hold in any case.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST, _LARGEST))
    try:
        _load()
    except Unconfined as why:
        log.warning("the signer is not confined by a filter of its own: %s", why)
        return str(why)
    return ""


def _load() -> None:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError:
        raise Unconfined(f"{_LIBRARY} is missing; apt install libseccomp2") from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    made = library.seccomp_init(_ERRNO | errno.EPERM)
    if not made:
        raise Unconfined(f"{_LIBRARY} knows no filters for this machine ({os.uname().machine})")
    rules = ctypes.c_void_p(made)
    try:
        # The register's writing thread is there already.
        _said(library.seccomp_attr_set(rules, _TSYNC, 1), "threads")
        for name in ALLOWED:
            _add(library, rules, _ALLOW, name, ())
        for name, (argument, mask, value) in ALLOWED_WITH.items():
            _add(library, rules, _ALLOW, name, [_Comparison(argument, _MASKED_EQUAL, mask, value)])
        for name in UNKNOWN:
            _add(library, rules, _ERRNO | errno.ENOSYS, name, ())
        _said(library.seccomp_load(rules), "the filter")
    finally:
        library.seccomp_release(rules)


def _add(
    library: ctypes.CDLL, rules: ctypes.c_void_p, action: int, name: str, comparisons: Sequence[_Comparison]
) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number < 0:  # of another kind of machine, or newer than the library
        return
    listed = (_Comparison * len(comparisons))(*comparisons)
    _said(
        library.seccomp_rule_add_array(rules, ctypes.c_uint32(action), number, len(comparisons), listed), name
    )


def _said(code: int, what: str) -> None:
    if code < 0:
        raise Unconfined(f"the kernel or {_LIBRARY} does not take {what} ({os.strerror(-code)})")
