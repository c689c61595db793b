"""The parts of `make bench` that only calculate: figures, verdicts, demand, requests, report."""

from __future__ import annotations

import io
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import demand, machine, openloop, report, wrk
from bench.__main__ import arguments_of
from bench.books import catalogue, write_csv
from bench.demand import Demand
from bench.lines import LINES
from bench.machine import Missing
from bench.results import Key, Results, Series, load
from bench.run import in_turn
from bench.stats import Summary, percentile, ratios, slope, summary
from bench.targets import TARGETS, Target, verdict
from catalog import bookfile

ABOUT: dict[str, Any] = {
    "at": "2026-01-01", "rounds": 3, "minutes": 0.5, "quick": False, "cores": 2, "cpu": "A chip",
    "memory_gb": 8, "kernel": "6.1", "python": "3.11", "sqlite": "3.54", "sync_ms": 0.1,
    "load_before": 0.1, "versions": {"nginx": "1.22.1"},
}  # fmt: skip
MEASURED = Path(report.__file__).with_name("results.json")
FAST = Target("hits", Key("hits", "a", "bazar", "req/s"), 5, "ms")


def results(**about: Any) -> Results:
    """Return a run in which hits were measured, and nothing else."""
    found = Results(ABOUT | about)
    for ours, theirs in ((130, 100), (300, 200), (90, 100)):
        found.add(Key("hits", "lookup", "bazar", "req/s"), ours)
        found.add(Key("hits", "lookup", "nginx", "req/s"), theirs)
    return found


# --- figures ---


def test_a_summary_is_the_median_and_the_range() -> None:
    """Of an even number of rounds, too."""
    assert summary([3, 1, 2]) == Summary(2, 1, 3)
    assert summary([4, 1]) == Summary(2.5, 1, 4)


def test_nothing_has_no_summary() -> None:
    """A line that measured nothing is an error, not a zero."""
    with pytest.raises(ValueError, match="nothing was measured"):
        summary([])


def test_ratios_are_taken_round_by_round() -> None:
    """A slow round slows both, which cancels; rounds that do not pair are refused."""
    assert ratios([10, 1], [5, 0.5]) == [2, 2]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (100, 100), (0, 1), (99.5, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """Nearest rank: the smallest value that covers so many per cent."""
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_the_slope_is_growth_per_unit_of_time() -> None:
    """A single sample does not grow."""
    assert math.isclose(slope([0, 1, 2], [5, 7, 9]), 2)
    assert slope([1], [5]) == 0


# --- verdicts ---


@pytest.mark.parametrize(
    ("value", "bound", "at_least", "expected"),
    [
        (1.3, 1.3, True, "met"),
        (0.65, 1.3, True, "short by 50 %"),
        (5.0, 5.0, False, "met"),
        (6.0, 5.0, False, "over by 20 %"),
    ],
)
def test_a_verdict_says_by_how_much(
    value: float, bound: float, at_least: bool, expected: str
) -> None:
    """Of the bound, in per cent."""
    assert verdict(value, bound, at_least) == expected


def test_a_ratio_target_judges_the_median_of_the_rounds_ratios() -> None:
    """Not the ratio of the medians."""
    assert TARGETS[0].measured(results()) == Summary(1.3, 0.9, 1.5)
    assert TARGETS[0].verdict(results()) == "met"


def test_how_much_less_counts_against_the_time_without_the_cache() -> None:
    """1 ms instead of 20 ms is 95 % less."""
    found = Results(ABOUT)
    found.add(Key("table", "lookup", "with cache", "mean ms"), 1)
    found.add(Key("table", "lookup", "without cache", "mean ms"), 20)
    target = next(t for t in TARGETS if t.value.line == "table" and t.value.case == "lookup")
    assert target.measured(found) == Summary(95, 95, 95)
    assert target.verdict(found) == "met"


def test_what_was_not_measured_has_no_verdict() -> None:
    """The report says so."""
    assert FAST.verdict(Results(ABOUT)) == "not measured"


def test_latencies_are_not_met_where_requests_failed() -> None:
    """Those have none, and would be left out."""
    found = Results(ABOUT)
    for failed in (0, 3):
        found.add(Key("failover", "killed", "bazar", "longest s"), 0.1)
        found.add(Key("failover", "killed", "bazar", "failed"), failed)
    target = next(target for target in TARGETS if target.value.case == "killed")
    assert target.verdict(found) == "3 requests failed"


@pytest.mark.parametrize(
    ("minutes", "expected"), [(0.5, "too short to tell (0.5 min)"), (10, "met")]
)
def test_memory_is_judged_after_ten_minutes_only(minutes: float, expected: str) -> None:
    """Before that it is caches that fill."""
    found = Results(ABOUT | {"minutes": minutes})
    found.add(Key("soak", "all", "bazar", "MB/min"), 0.2)
    (target,) = (target for target in TARGETS if target.value.line == "soak")
    assert target.verdict(found) == expected


def test_every_target_belongs_to_a_line() -> None:
    """A target that no line can reach would never be missed."""
    assert {target.value.line for target in TARGETS} <= {line.name for line in LINES}


# --- demand ---


def test_demand_has_the_slopes_measured_of_bookshops() -> None:
    """On logarithmic scales, and without a jump where the pieces meet."""
    weights = demand.weights(12_000)
    for first, last, expected in ((1, 100, 0.52), (100, 1_000, 0.83), (1_000, 12_000, 1.04)):
        fall = math.log(weights[first - 1] / weights[last - 1]) / math.log(last / first)
        assert math.isclose(fall, expected, rel_tol=1e-9)


@pytest.mark.parametrize("count", [1, 50, 500])
def test_a_small_catalogue_has_demand_too(count: int) -> None:
    """One weight for each rank, falling."""
    weights = demand.weights(count)
    assert len(weights) == count
    assert weights == sorted(weights, reverse=True)


def test_the_mix_has_its_shares_and_is_the_same_every_time() -> None:
    """48 % search, 49 % lookup, 3 % purchase, within the luck of the draw."""
    asked = Demand(catalogue(200))
    mix = demand.shopping(asked, 20_000)
    shares = Counter(line.split("/")[1] for line in mix)
    for operation, percent in demand.SHOPPING.items():
        assert abs(shares[operation] / 200 - percent) < 1.5
    assert mix == demand.shopping(Demand(catalogue(200)), 20_000)


def test_popular_books_are_not_the_first_ids() -> None:
    """Or they would lie side by side in each database."""
    popular = Counter(book.id for book in Demand(catalogue(2_000)).draw(20_000)).most_common(20)
    assert max(number for number, _ in popular) > 1_000


@pytest.mark.parametrize(("width", "ranges"), [(80, False), (140, True)])
def test_the_terminal_says_in_words_and_colours_what_is_met(width: int, ranges: bool) -> None:
    """One line for each target that was measured, and how many are met; no line is cut off."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system="standard")
    shown = load(MEASURED)
    console.print(report.terminal(shown, width))
    measured = [target for target in TARGETS if target.measured(shown) is not None]
    met = sum(target.verdict(shown) == "met" for target in measured)
    text = out.getvalue()
    assert f"{met} of {len(measured)} targets met" in text
    assert text.count("\033[32mmet") == met
    assert text.count("\033[1;31m") == len(measured) - met
    assert (" to " in text) == ranges
    lines = re.sub(r"\033\[[0-9;]*m", "", text).splitlines()
    assert max(map(len, lines)) <= width


# --- books and requests ---


def test_a_generated_catalogue_is_one_the_importer_takes(tmp_path: Path) -> None:
    """Every row, with its topics and authors; the first ones are the same at every size."""
    books = catalogue(300)
    assert catalogue(10) == books[:10]
    text = io.StringIO()
    write_csv(books, text)
    loaded = bookfile.books(bookfile.opened(io.BytesIO(text.getvalue().encode())))
    rows = [row for row in loaded if isinstance(row, dict)]
    assert [(row["title"], row["authors"], row["topics"], row["sku"]) for row in rows] == [
        (book.title, list(book.authors), list(book.topics), book.sku) for book in books
    ]


def test_requests_are_written_for_a_url() -> None:
    """Topics and words are percent-encoded."""
    book = next(book for book in catalogue(300) if "&" in book.topics[0])
    assert "%26" in demand.search(book)
    assert " " not in demand.text_search(book).removeprefix("GET ")
    line = demand.purchase(book)
    assert line == f"POST /purchase/{book.id}"
    head, _, body = openloop.request_of(line, "host:1", "a-key").partition(b"\r\n\r\n")
    assert b"\r\nIdempotency-Key: a-key" in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head


# --- loads ---


def test_an_open_loop_keeps_its_rate_and_never_repeats_a_key() -> None:
    """Due times follow from the seed; they come at random, but so many a second."""
    plan = openloop.Plan("http://host:1", ["POST /purchase/1"], rate=500, seconds=4, run="r")
    requests = list(openloop.requests_of(plan))
    assert abs(len(requests) - 2_000) < 200
    assert len({data for _, data in requests}) == len(requests)
    assert requests == list(openloop.requests_of(plan))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", -1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\nhe", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0),
    ],
)
def test_an_answer_is_known_to_be_whole(data: bytes, expected: int) -> None:
    """By its length, however its header is written."""
    assert openloop.missing(data) == expected


def test_a_generator_that_was_late_is_named() -> None:
    """With the rounds it spoilt: latencies count from the schedule."""
    found = results()
    for late_ms in (0.3, 5.2, 0.4):
        found.add(Key("open", "hits 1000", "bazar", "late p99 ms"), late_ms)
    found.add(Key("open", "mix 200", "bazar", "late p99 ms"), 0.9)
    text = report.markdown(found)
    assert "open, hits 1000, Bazar: the generator was up to 5.2 ms late in 1 of 3 rounds" in text
    assert "mix 200, Bazar: the generator" not in text


def test_a_sample_with_one_refusal_is_void() -> None:
    """A refusal is cheaper than an answer, so it must not count as one."""
    said = {"requests": 100, "seconds": 2.0, "errors": 0, "refused": 0, "mean": 1500, "p50": 1000,
            "p99": 9000}  # fmt: skip
    assert wrk.load_of(said) == wrk.Load(50, 1.5, 1.0, 9.0)
    for void in ({"refused": 1}, {"errors": 1}, {"requests": 0}):
        with pytest.raises(wrk.Void):
            wrk.load_of(said | void)


def test_the_order_of_systems_turns_round() -> None:
    """So that a machine that gets slower favours neither."""
    assert [in_turn(number, "ab") for number in range(3)] == ["ab", "ba", "ab"]


# --- results and report ---


def test_results_survive_their_file(tmp_path: Path) -> None:
    """The report can be made again from it."""
    found = results()
    found.series.append(Series("soak", "order-1", [0.0, 1.0], [30.5, 31.0]))
    found.notes.append("a note")
    found.save(tmp_path / "results.json")
    again = load(tmp_path / "results.json")
    assert again == found
    assert report.markdown(again) == report.markdown(found)


def test_a_failed_line_leaves_nothing_behind() -> None:
    """Half a line would pair rounds that do not belong together."""
    found = results()
    found.forget("hits")
    assert not found.figures


def test_the_report_has_a_row_for_each_target_measured_or_not() -> None:
    """With its verdict; the others say that they were not measured."""
    text = report.markdown(results())
    assert (
        "| cached lookup, one core, beside nginx | 1.30 x (0.90 to 1.50) | ≥ 1.3 x | met |" in text
    )
    for target in TARGETS[1:]:
        assert f"| {target.what} | - | {target.text} | **{target.verdict(results())}** |" in text
    assert "$" not in text


def test_the_report_has_the_figures_behind_a_ratio() -> None:
    """Of each system, with their range; what was not measured is a dash."""
    text = report.markdown(results())
    assert "| lookup | Bazar | 130 (90.0 to 300) | - | - |" in text
    assert "| lookup | nginx | 100 (100 to 200) | - | - |" in text


def test_the_report_describes_the_machine() -> None:
    """Processor, disk, kernel and programs."""
    text = report.markdown(results())
    for fact in ("A chip, 2 cores", "in 0.1 ms", "6.1", "3.11", "nginx 1.22.1"):
        assert fact in text


@pytest.mark.parametrize("about", [{"load_before": 3.0}, {"quick": True}])
def test_the_report_warns_of_figures_not_to_rely_on(about: dict[str, Any]) -> None:
    """When the machine was busy, or the run a quick one."""
    assert "Do not rely" in report.markdown(results(**about))
    assert "Do not rely" not in report.markdown(results())


@pytest.mark.parametrize(
    ("value", "text"), [(94_123.4, "94,123"), (12.345, "12.3"), (1.234, "1.23"), (0.05, "0.05")]
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """More would claim what was not measured."""
    assert report.number(value) == text


# --- the command ---


def test_missing_programs_are_named_with_their_packages() -> None:
    """All at once, in one line."""

    def which(name: str) -> str:
        if name != "wrk":
            raise Missing(name)
        return name

    machine.check_programs({"wrk"}, which)
    with pytest.raises(Missing, match=r"apt install nginx postgresql$"):
        machine.check_programs({"nginx", "wrk", "initdb"}, which)


def test_missing_modules_are_found_before_anything_is_measured() -> None:
    """With the file that lists them."""
    machine.check_modules(lambda name: name)
    with pytest.raises(Missing, match=r"needs psycopg: pip install -r bench/requirements\.txt"):
        machine.check_modules(lambda name: None if name == "psycopg" else name)


def test_a_part_is_chosen_by_name_in_the_order_of_the_report() -> None:
    """An unknown name is refused with those there are."""
    chosen = arguments_of(["--only", "purchases,hits"]).only
    assert [line.name for line in chosen] == ["hits", "purchases"]
    with pytest.raises(SystemExit):
        arguments_of(["--only", "hist"])
