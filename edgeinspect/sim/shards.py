"""Runs a simulation of any size in shards, over as many processes as asked for.

A run of at most ``SHARD_PARTS`` parts is one shard with the run's own seed; a longer one is cut
into shards whose seeds are derived from it. So the seed of a failing shard, with its number of
parts, repeats that shard exactly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import reduce
from multiprocessing import get_context
from operator import add

from edgeinspect.errors import UsageError
from edgeinspect.line.config import Tracking
from edgeinspect.line.core import LineCore
from edgeinspect.sim.injected_faults import fault_rates
from edgeinspect.sim.presets import GATES, is_guarded
from edgeinspect.sim.truth import Account
from edgeinspect.sim.virtual import CoreFactory, VirtualLine

SHARD_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class _Shard:
    parts: int
    seed: int
    gate: str
    tracking: str
    rates: Mapping[str, float]
    core_factory: CoreFactory

    def run(self, progress: Callable[[int], None] | None = None) -> Account:
        line = VirtualLine(
            parts=self.parts,
            seed=self.seed,
            gate=self.gate,
            tracking=self.tracking,
            rates=self.rates,
            core_factory=self.core_factory,
        )
        account = line.run(progress)
        if account.good:
            return account
        return replace(account, failing_shards=((self.seed, self.parts),))


def run_simulation(
    *,
    parts: int,
    seed: int,
    faults: str | Iterable[str] | Mapping[str, float] = "none",
    gate: str = "normally-rejecting",
    tracking: str = "delay",
    jobs: int = 1,
    core_factory: CoreFactory = LineCore,
    progress: Callable[[int], None] | None = None,
) -> Account:
    """Run parts through the simulated line on virtual time and settle the truth account.

    Args:
        parts: how many, at least 1.
        seed: repeats the run exactly, whatever ``jobs`` is.
        faults: see ``edgeinspect.sim.injected_faults.fault_rates``.
        gate: a key of ``edgeinspect.sim.presets.GATES``.
        tracking: "delay" or "encoder".
        jobs: processes to use.
        core_factory: makes the core; importable by name if ``jobs`` is more than 1.
        progress: called now and then with the number of parts done.

    Raises:
        UsageError: for options that make no sense.
    """
    _check(parts, gate, tracking, jobs)
    rates = fault_rates(faults, guarded=is_guarded(gate), encoder=tracking == Tracking.ENCODER)
    shards = [
        _Shard(count, shard_seed, gate, tracking, rates, core_factory)
        for count, shard_seed in _cut(parts, seed)
    ]
    report = progress or (lambda done: None)
    accounts = _run_all(shards, jobs, report)
    return replace(reduce(add, accounts), seed=seed)


def _check(parts: int, gate: str, tracking: str, jobs: int) -> None:
    if parts < 1 or jobs < 1:
        raise UsageError(f"A simulation needs at least one part and one job, not {parts}, {jobs}.")
    if gate not in GATES:
        raise UsageError(f"Unknown gate {gate!r}; expected one of {', '.join(GATES)}.")
    if tracking not in [each.value for each in Tracking]:
        raise UsageError(f"Unknown tracking {tracking!r}; expected 'delay' or 'encoder'.")


def _cut(parts: int, seed: int) -> Iterator[tuple[int, int]]:
    if parts <= SHARD_PARTS:
        yield parts, seed
        return
    for number in range(-(-parts // SHARD_PARTS)):
        name = f"{seed}/{number}".encode()
        shard_seed = int.from_bytes(hashlib.sha256(name).digest()[:6], "big")
        yield min(SHARD_PARTS, parts - number * SHARD_PARTS), shard_seed


def _run_all(shards: list[_Shard], jobs: int, report: Callable[[int], None]) -> list[Account]:
    if jobs == 1 or len(shards) == 1:
        accounts = []
        done = 0
        for shard in shards:
            accounts.append(shard.run(_after(done, report)))
            done += shard.parts
            report(done)
        return accounts
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(shard.run): number for number, shard in enumerate(shards)}
        results: dict[int, Account] = {}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            report(sum(account.parts for account in results.values()))
    return [results[number] for number in range(len(shards))]


def _after(done: int, report: Callable[[int], None]) -> Callable[[int], None]:
    return lambda more: report(done + more)
