"""What really happened, set against what the station recorded: the truth account."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from edgeinspect.line.config import GateKind, LineConfig, ReviewAction, Tracking
from edgeinspect.line.reject import FOREVER_NS
from edgeinspect.part import Doubt, GateOutcome, PartRecord, VerdictKind
from edgeinspect.sim.presets import GATES, MS, SECOND
from edgeinspect.sim.world import End, SimPart

JUDGED = (VerdictKind.PASS, VerdictKind.REJECT, VerdictKind.REVIEW)
TRIGGER_TOLERANCE_NS = 40 * MS
"""An edge while the part still covers the sensor is the part's, whatever made it."""
COUNT_TOLERANCE = 2
"""Extra counts at once that are too few to be distinguished from an encoder's jitter."""
LONGEST_WAY_NS = 60 * SECOND
"""A station that has not recorded a part after this long has lost it."""
FINDINGS_KEPT = 20


@dataclass(frozen=True, slots=True)
class FrameTruth:
    """What a delivered frame really shows.

    Attributes:
        part: number of the part in the picture; None for the empty belt.
        placed: whether it stands where the recipe expects it.
        exposure_ns: when these pixels were really exposed, whatever the driver claims.
        shown_again: whether they had been delivered before, under another number.
        counted: what the encoder had counted at the exposure; None: unknown.
    """

    part: int | None
    placed: bool
    exposure_ns: int
    shown_again: bool = False
    counted: int | None = None


@dataclass(slots=True)
class TruthLog:
    """Facts in the order in which they became true.

    Attributes:
        parts: every part that was put on the belt.
        frames: by the sequence number under which they were delivered.
        edges: trigger edges that reached a live station: time, and which process took them.
        counts: what the encoder had counted at each trigger edge.
        dropped_edges: how many edges a full queue dropped, and said so.
        deaths: process number to the time of its death.
        records: durable records.
        died: records that a process had made and had not yet made durable when it died.
        acknowledged: part ids whose record the station called durable.
        deleted: part ids whose record was in a deleted database when the process died, within the
            second in which it would have put it back; ``died`` has the records.
        died_while_refused: those of ``died`` that could not be written because the disk was full.
        configs: by recipe digest.
        injected: faults that struck, by name.
        alarms: raised, by name.
        unsteady: from when to when the belt did not have its full speed.
    """

    parts: list[SimPart] = field(default_factory=list)
    frames: dict[int, FrameTruth] = field(default_factory=dict)
    edges: list[tuple[int, int]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    dropped_edges: int = 0
    deaths: dict[int, int] = field(default_factory=dict)
    records: list[PartRecord] = field(default_factory=list)
    died: list[PartRecord] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)
    died_while_refused: set[int] = field(default_factory=set)
    configs: dict[str, LineConfig] = field(default_factory=dict)
    injected: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    line_stops: Counter[str] = field(default_factory=Counter)
    unsteady: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The truth account of a run. Counts are parts unless stated otherwise.

    Attributes:
        triggered: accepted triggers, that is records and records that died with the station.
        left, rejected, recalled: how the parts ended; the operator removed recalled ones from the
            outfeed.
        escapes: defective parts that passed.
        false_rejects: good parts that were inspected and rejected because of their score.
        doubtful_rejects: good parts that were rejected because they could not be inspected.
        cannot_inspect, review, late: records with that verdict.
        lost: triggers that a living station never recorded, and parts that its ledger calls lost.
        ledger_lost: only the parts that its ledger calls lost.
        swapped: records judged on a frame of another part, or on a picture that was shown before,
            or PASS on a frame of no part.
        out_of_view: records judged on a frame that was really exposed before their part came into
            view, or after it had left.
        duplicated: part ids recorded twice and frames judged twice.
        mislocated: records of judged parts whose encoder count differs from the encoder's real
            count at the trigger edge, however late the station received it.
        unaccounted: parts without an end, and triggers with neither record nor named reason.
        wrongly_passed: parts that left the line without a PASS record whose frame shows that part,
            exposed after its own trigger, scored below the threshold, in time.
        judged_unsteady: records judged on a picture although the belt was not at its speed all the
            way from trigger to exposure; only where that speed is assumed (tracking by delay).
        untriggered_passed: parts that left undetected by the trigger. For a normally passing
            gate without a guard sensor they are not counted as wrongly passed, because nothing on
            that line could have noticed them.
        died_with_station: triggers and records lost in a crash; their parts were rejected or
            recalled.
        died_unwritten_left: records lost with a station that could not write them (crash while the
            disk was full), of parts that had already left, rightly.
        acknowledged_lost: records that the station called durable and that are in no file.
        deleted_with_station: records that somebody deleted in the second before the process died.
        missed_trigger: parts that the trigger sensor did not see.
        station_down: parts that passed the sensor while no station was alive.
        dropped_edges: trigger edges that a full queue dropped and counted.
        doubts, outcomes, alarms, line_stops, faults: counts by name.
        failing_shards: seed and number of parts of each shard that is not ``good``; a run with that
            seed and number repeats it exactly.
        findings: the first few problems, in words.
    """

    gate: str
    tracking: str
    seed: int
    parts: int = 0
    triggered: int = 0
    defective: int = 0
    left: int = 0
    rejected: int = 0
    recalled: int = 0
    escapes: int = 0
    false_rejects: int = 0
    doubtful_rejects: int = 0
    cannot_inspect: int = 0
    review: int = 0
    late: int = 0
    lost: int = 0
    ledger_lost: int = 0
    swapped: int = 0
    out_of_view: int = 0
    duplicated: int = 0
    mislocated: int = 0
    unaccounted: int = 0
    wrongly_passed: int = 0
    judged_unsteady: int = 0
    untriggered_passed: int = 0
    died_with_station: int = 0
    died_unwritten_left: int = 0
    acknowledged_lost: int = 0
    deleted_with_station: int = 0
    missed_trigger: int = 0
    station_down: int = 0
    dropped_edges: int = 0
    simulated_s: float = 0.0
    doubts: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    alarms: Mapping[str, int] = field(default_factory=dict)
    line_stops: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)
    failing_shards: tuple[tuple[int, int], ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the station kept its promises."""
        about_pictures = self.swapped or self.out_of_view or self.duplicated
        about_belt = self.mislocated or self.judged_unsteady
        about_records = self.unaccounted or self.acknowledged_lost
        return not (about_pictures or about_belt or about_records or self.wrongly_passed)

    def as_dict(self) -> dict[str, object]:
        """All fields, ready for JSON."""
        return asdict(self) | {"good": self.good}

    def __add__(self, other: Account) -> Account:
        """The account of both runs together, under the name of the first."""
        changes: dict[str, object] = {}
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Mapping):
                changes[each.name] = dict(sorted((Counter(mine) + Counter(theirs)).items()))
            elif each.name not in ("gate", "tracking", "seed"):
                changes[each.name] = mine + theirs
        changes["findings"] = (self.findings + other.findings)[:FINDINGS_KEPT]
        return replace(self, **changes)  # type: ignore[arg-type]


def settle(log: TruthLog, *, gate: str, tracking: str, seed: int, simulated_s: float) -> Account:
    """Set the facts against the records."""
    return _Settlement(log, gate, tracking).account(
        Account(gate=gate, tracking=tracking, seed=seed, simulated_s=simulated_s)
    )


class _Settlement:
    def __init__(self, log: TruthLog, gate: str, tracking: str) -> None:
        self._log = log
        self._tracking = tracking
        kind, guarded = GATES[gate]
        self._blind = kind is GateKind.NORMALLY_PASSING and not guarded
        self._findings: list[str] = []
        self._by_shown: dict[int, list[PartRecord]] = {}
        for record in (*log.records, *log.died):
            truth = self._truth_of(record)
            if truth is not None and truth.part is not None:
                self._by_shown.setdefault(truth.part, []).append(record)

    def account(self, blank: Account) -> Account:
        log, parts, records = self._log, self._log.parts, self._log.records
        ends = Counter(part.end for part in parts)
        wrongly_passed = self._count(self._wrongly_passed())
        swapped = self._count(self._swapped())
        duplicated = self._duplicated()
        judged_unsteady = self._count(self._judged_unsteady())
        lost_edges, died_edges = self._edges_without_record()
        endless = [part for part in parts if part.end is None]
        self._count(f"part {part.number} never left the line" for part in endless)
        died_and_left = self._died_and_left()
        unwritten = sum(1 for record in died_and_left if self._was_refused(record))
        for record in died_and_left:
            if not self._was_refused(record):
                self._find(
                    f"the record of part {record.part_id} was lost after the part had left the line"
                )
        ledger_lost = sum(record.gate_outcome is GateOutcome.LOST for record in records)
        untriggered = [part for part in parts if not part.trigger_sees]
        return replace(
            blank,
            parts=len(parts),
            triggered=len(records) + len(log.died),
            defective=sum(part.defective for part in parts),
            left=ends[End.LEFT],
            rejected=ends[End.REJECTED],
            recalled=ends[End.RECALLED],
            escapes=sum(part.defective and part.end is End.LEFT for part in parts),
            false_rejects=sum(self._seen_and_rejected(part) for part in parts),
            doubtful_rejects=sum(self._rejected_unseen(part) for part in parts),
            cannot_inspect=sum(r.verdict.kind is VerdictKind.CANNOT_INSPECT for r in records),
            review=sum(r.verdict.kind is VerdictKind.REVIEW for r in records),
            late=sum(r.verdict.doubt is Doubt.LATE for r in records),
            lost=lost_edges + ledger_lost,
            ledger_lost=ledger_lost,
            swapped=swapped,
            out_of_view=self._count(self._out_of_view()),
            duplicated=duplicated,
            mislocated=self._count(self._mislocated()),
            unaccounted=len(endless) + lost_edges + len(died_and_left) - unwritten,
            wrongly_passed=wrongly_passed,
            judged_unsteady=judged_unsteady,
            untriggered_passed=sum(part.end is End.LEFT for part in untriggered),
            died_with_station=len(log.died) + died_edges,
            died_unwritten_left=unwritten,
            acknowledged_lost=self._acknowledged_lost(),
            deleted_with_station=len(log.deleted),
            missed_trigger=len(untriggered),
            station_down=sum(p.trigger_sees and not p.edge_delivered for p in parts),
            dropped_edges=log.dropped_edges,
            doubts=_named(r.verdict.doubt for r in records if r.verdict.doubt is not None),
            outcomes=_named(record.gate_outcome for record in records),
            alarms=dict(sorted(log.alarms.items())),
            line_stops=dict(sorted(log.line_stops.items())),
            faults=dict(sorted(log.injected.items())),
            findings=tuple(self._findings[:FINDINGS_KEPT]),
        )

    def _count(self, findings: Iterable[str]) -> int:
        """Note the findings and return how many there are."""
        before = len(self._findings)
        self._findings += findings
        return len(self._findings) - before

    def _find(self, sentence: str) -> None:
        self._findings.append(sentence)

    def _judged(self) -> Iterator[PartRecord]:
        """The records of judged parts, those that died with the station included."""
        records = (*self._log.records, *self._log.died)
        return (record for record in records if record.verdict.kind in JUDGED)

    def _truth_of(self, record: PartRecord) -> FrameTruth | None:
        return self._log.frames.get(record.frame.sequence) if record.frame is not None else None

    def _let_pass(self, record: PartRecord) -> bool:
        if record.verdict.kind is VerdictKind.REVIEW:
            return self._log.configs[record.recipe_digest].review_action is ReviewAction.PASS
        return record.verdict.kind is VerdictKind.PASS

    def _meets_the_rule(self, part: SimPart, record: PartRecord) -> bool:
        """Whether this record, whose frame shows the part, entitled the part to leave."""
        truth, frame = self._truth_of(record), record.frame
        if truth is None or frame is None or part.sensor_ns is None or record.inspection is None:
            return False
        thresholds = self._log.configs[record.recipe_digest].thresholds
        in_time = (record.verdict_mono_ns or 0) <= (record.deadline_mono_ns or 0)
        fresh = truth.exposure_ns >= part.sensor_ns
        fresh = fresh and frame.exposure_mono_ns >= record.trigger_mono_ns
        scores = record.inspection.scores
        below = all(s < t.reject for s, t in zip(scores, thresholds, strict=True))
        return self._let_pass(record) and truth.placed and fresh and below and in_time

    def _wrongly_passed(self) -> Iterator[str]:
        for part in self._log.parts:
            if part.end is not End.LEFT or (self._blind and not part.trigger_sees):
                continue
            records = self._by_shown.get(part.number, [])
            if not any(self._meets_the_rule(part, record) for record in records):
                said = ", ".join(f"{r.verdict.kind} {r.verdict.reason}" for r in records)
                yield (
                    f"part {part.number} (at the sensor at {part.sensor_ns} ns) left the line; "
                    f"records of it: {said or 'none'}"
                )

    def _swapped(self) -> Iterator[str]:
        for record in self._judged():
            truth = self._truth_of(record)
            if truth is None or truth.part is None or not truth.placed:
                wrong = record.verdict.kind is VerdictKind.PASS
            elif truth.shown_again:
                wrong = True
            else:
                sensor_ns = self._log.parts[truth.part].sensor_ns
                distance_ns = abs(record.trigger_mono_ns - (sensor_ns or 0))
                wrong = sensor_ns is None or distance_ns > TRIGGER_TOLERANCE_NS
            if wrong:
                shown = truth.part if truth is not None else None
                yield (
                    f"record {record.part_id} (trigger {record.trigger_mono_ns} ns) was judged "
                    f"{record.verdict.kind} on a frame of part {shown}"
                )

    def _out_of_view(self) -> Iterator[str]:
        """By travel alone, so that the model's opinion of the picture does not matter."""
        for record in self._judged():
            track = self._log.configs[record.recipe_digest].track
            travelled = self._travelled_at_exposure(record, track.tracking)
            if travelled is None:
                continue
            if not track.to_lens <= travelled <= track.to_lens + track.exposure_window:
                unit = "ns" if track.tracking is Tracking.DELAY else "counts"
                yield (
                    f"record {record.part_id} was judged {record.verdict.kind} on a frame exposed "
                    f"{travelled} {unit} after its trigger"
                )

    def _travelled_at_exposure(self, record: PartRecord, tracking: Tracking) -> int | None:
        """Return how far the record's part had travelled, in track units; None if unknown."""
        truth = self._truth_of(record)
        if truth is None:
            return None
        if tracking is Tracking.DELAY:
            return truth.exposure_ns - record.trigger_mono_ns
        counted = self._log.counts.get(record.trigger_mono_ns)
        return None if counted is None or truth.counted is None else truth.counted - counted

    def _mislocated(self) -> Iterator[str]:
        for record in self._judged():
            count, true_count = record.encoder_count, self._log.counts.get(record.trigger_mono_ns)
            if count is None or true_count is None or abs(count - true_count) <= COUNT_TOLERANCE:
                continue
            yield (
                f"record {record.part_id} says that its part was at count {count} at the trigger, "
                f"and it was at {true_count}"
            )

    def _judged_unsteady(self) -> Iterator[str]:
        """A position given as a time is meaningless while the belt is not at its set speed."""
        unsteady = self._log.unsteady if self._tracking == Tracking.DELAY else []
        for record in self._judged() if unsteady else ():
            if record.frame is None:
                continue
            at = bisect_right(unsteady, (record.frame.exposure_mono_ns, FOREVER_NS)) - 1
            if at >= 0 and unsteady[at][1] > record.trigger_mono_ns:
                yield (
                    f"record {record.part_id} was judged {record.verdict.kind}, but the belt was "
                    f"not at its speed from {unsteady[at]} ns"
                )

    def _duplicated(self) -> int:
        records = (*self._log.records, *self._log.died)
        ids = Counter(record.part_id for record in records)
        frames = Counter(
            record.frame.sequence for record in self._judged() if record.frame is not None
        )
        for part_id in (key for key, n in ids.items() if n > 1):
            self._find(f"part id {part_id} was recorded {ids[part_id]} times")
        for sequence in (key for key, n in frames.items() if n > 1):
            self._find(f"frame {sequence} was judged {frames[sequence]} times")
        return sum(n - 1 for n in ids.values()) + sum(n - 1 for n in frames.values())

    def _edges_without_record(self) -> tuple[int, int]:
        """How many trigger edges a living station lost, and how many died with theirs."""
        log = self._log
        recorded = {record.trigger_mono_ns for record in (*log.records, *log.died)}
        debounce_ns = max(
            (config.trigger.debounce_ns for config in log.configs.values()), default=0
        )
        lost = died = 0
        edges = sorted(log.edges)
        times = [edge_ns for edge_ns, _ in edges]
        accepted: set[int] = set()
        for edge_ns, process in edges:
            first = bisect_left(times, edge_ns - debounce_ns + 1)
            last = bisect_left(times, edge_ns)
            death_ns = log.deaths.get(process)
            if edge_ns in recorded:
                accepted.add(edge_ns)
            elif any(times[i] in accepted for i in range(first, last)):
                continue
            elif death_ns is not None and death_ns - edge_ns < LONGEST_WAY_NS:
                accepted.add(edge_ns)
                died += 1
            else:
                self._find(f"the trigger at {edge_ns} ns has no record")
                lost += 1
        return lost, died

    def _died_and_left(self) -> list[PartRecord]:
        left = []
        for record in self._log.died:
            truth = self._truth_of(record)
            if truth is None or truth.part is None or not truth.placed:
                continue
            if self._log.parts[truth.part].end is End.LEFT:
                left.append(record)
        return left

    def _acknowledged_lost(self) -> int:
        there = {record.part_id for record in self._log.records}
        lost = set(self._log.acknowledged) - there - self._log.deleted
        if lost:
            self._find(
                f"{len(lost)} acknowledged records are missing from the files, the first "
                f"is {min(lost)}"
            )
        return len(lost)

    def _was_refused(self, record: PartRecord) -> bool:
        """Nobody could have kept it: the disk was full, or somebody had deleted it."""
        log = self._log
        return record.part_id in log.died_while_refused or record.part_id in log.deleted

    def _seen_and_rejected(self, part: SimPart) -> bool:
        if part.defective or part.end is not End.REJECTED:
            return False
        records = self._by_shown.get(part.number, [])
        return any(
            r.verdict.kind in (VerdictKind.REJECT, VerdictKind.REVIEW) and not self._let_pass(r)
            for r in records
        )

    def _rejected_unseen(self, part: SimPart) -> bool:
        rejected = not part.defective and part.end is End.REJECTED
        return rejected and not self._seen_and_rejected(part)


def _named(values: Iterable[object]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))
