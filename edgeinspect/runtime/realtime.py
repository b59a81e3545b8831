"""What Linux offers a thread that must act on time, asked for and honestly reported."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import threading

_PR_SET_TIMERSLACK = 29  # <linux/prctl.h>
_MCL_CURRENT_FUTURE_ONFAULT = 1 | 2 | 4  # <sys/mman.h>; lock touched pages, not all stacks
_PULSE_PRIORITY = 50


def keep_core_free(core: int) -> str:
    """Let the calling thread, and all that it will start, use every core but this one.

    Call it before the other threads are started; those of the model included.

    Returns:
        why not, as a sentence; "" if it is so.
    """
    others = os.sched_getaffinity(0) - {core}
    if not others:
        return f"core {core} is the only one that this process may use"
    return _use_cores(others)


def keep_the_collector_short() -> None:
    """Take all that exists now out of the garbage collector's rounds, for good.

    A full round holds the interpreter, and so the pulse thread, for as long as it looks at
    everything: 33 ms with the 53,000 objects of an assembled station on a busy x86 machine. Call it
    when everything is made and nothing moves yet.
    """
    gc.collect()
    gc.freeze()


def make_this_thread_punctual(*, core: int | None = None) -> list[str]:
    """Give the calling thread real-time priority and no timer slack, and the process no paging.

    Args:
        core: run the calling thread on this core; None: on any.

    Returns:
        One sentence for each refused request; empty if everything was granted.
    """
    refused = []
    if core is not None and (why_not := _use_cores({core})):
        refused.append(f"the pulse thread has no core of its own: {why_not}")
    try:
        parameters = os.sched_param(_PULSE_PRIORITY)
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_FIFO, parameters)
    except OSError as error:
        refused.append(f"no real-time priority for the pulse thread ({error.strerror})")
    if _libc_call("prctl", _PR_SET_TIMERSLACK, 1, 0, 0, 0) != 0:
        refused.append("the pulse thread's timer slack could not be set")
    if not _lock_memory():
        refused.append("memory is not locked, so the pulse thread may wait for paging")
    return refused


def _use_cores(cores: set[int]) -> str:
    try:
        os.sched_setaffinity(threading.get_native_id(), cores)
    except OSError as error:
        named = ", ".join(map(str, sorted(cores)))
        return f"core {named} cannot be used ({error.strerror})"
    return ""


def _lock_memory() -> bool:
    # Under a limit the call may succeed and a later allocation fail: ask only without one.
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        return False
    return _libc_call("mlockall", _MCL_CURRENT_FUTURE_ONFAULT) == 0


def _libc_call(name: str, *arguments: int) -> int:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return -1
    return int(function(*(ctypes.c_ulong(argument) for argument in arguments)))
