"""What the benchmarks compute from what they measure: CPU by part, medians, ratios, tables, the chart."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from bench.createslice import by_case, occupied, times, used
from bench.tools import processes
from bench.tools.chart import drawn
from bench.tools.contenders import Case, Run
from bench.tools.scale import VARIABLE, full
from bench.tools.tables import Table, read, shown, written

PARTS = dict.fromkeys(
    ("client", "svmd", "worker", "Valkey", "PostgreSQL", "Flower", "agent", processes.THEIRS, "nodes"), 16.0
)


def a_run(contender: str, seconds: float, nodes: int = 8, window: int = 16, **more: Any) -> Run:
    return Run(contender, nodes, 50, window, seconds, more.get("cpu", PARTS), more.get("memory", {}), more.get("p99"))


RUNS = [
    *(a_run("limit", seconds) for seconds in (1.0, 9.0, 2.0)),
    a_run("2003", 6.0),
    *(a_run("svm", seconds, p99=seconds / 2, memory={"agent": 10 * seconds}) for seconds in (3.0, 4.0, 2.5)),
]


def test_medians_and_their_ratios() -> None:
    (row,) = times(RUNS).rows
    assert row == ("8, 50 ms, 16", 2.0, 6.0, 3.0, 1.5, 2.0, 1.5)


def test_cpu_is_a_node_s_share_and_the_service_manager_s_parts_are_summed() -> None:
    row = used(RUNS).rows[-1]
    assert row[:3] == ("8, 50 ms, 16", "svm", 6 * 2.0)  # six of the parts, 16 ms for 8 nodes each
    assert set(row[3:]) == {2.0}


def test_memory_is_the_most_of_all_rounds() -> None:
    (row,) = occupied(RUNS).rows
    assert row[-2:] == (40.0, 0.0)  # agent, nodes


def test_cases_come_by_size_whatever_the_order_of_the_runs() -> None:
    more = [a_run(contender, 1.0, nodes=4, window=4) for contender in ("svm", "limit", "2003")]
    assert list(by_case([*RUNS, *more])) == [Case(4, 50, 4), Case(8, 50, 16)]


def test_cpu_of_a_part_has_its_children_s_also_of_those_that_ended(tmp_path: Path) -> None:
    #                        pid: parent, user, system, of ended children
    for pid, (parent, *ticks) in {
        10: (1, 5, 5, 20, 10),
        11: (10, 1, 2, 0, 0),
        12: (11, 4, 0, 0, 0),
        20: (1, 7, 0, 0, 0),
    }.items():
        (tmp_path / str(pid)).mkdir()
        fields = ["S", parent, *[0] * 9, *ticks]
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (name) b) {' '.join(map(str, fields))}")
    (tmp_path / "self").mkdir()
    for pid, words in ((10, "postgres -D data"), (11, "postgres: agent dslice [local] idle"), (12, "postgres: svm x")):
        (tmp_path / str(pid) / "cmdline").write_bytes(words.encode())
    assert processes.cpu({processes.DATABASE: [10]}, tmp_path) == {
        processes.DATABASE: 44 * processes.TICK,
        processes.THEIRS: 3 * processes.TICK,
    }
    found = processes.cpu({"database": [10], "agent": [20], "gone": [99]}, tmp_path)
    assert found == {"database": 47 * processes.TICK, "agent": 7 * processes.TICK, "gone": 0}


def test_memory_of_a_part_is_that_of_its_family(tmp_path: Path) -> None:
    for pid, parent, pss in ((10, 1, 1024), (11, 10, 512)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (x) S {parent} {'0 ' * 14}")
        (tmp_path / str(pid) / "smaps_rollup").write_text(f"Rss:  9999 kB\nPss:  {pss} kB\n")
        (tmp_path / str(pid) / "status").write_text(f"VmPeak: 1 kB\nVmHWM:\t {pss * 2} kB\n")
    assert processes.memory({"database": [10]}, tmp_path) == {"database": 1.5}
    assert processes.peak([10, 11, 12], tmp_path) == 2.0


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, ""), ("svm", "svm"), (7, "7"), (12_345, "12,345"), (1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_figures_have_as_many_digits_as_mean_something(cell: str | float | None, text: str) -> None:
    assert shown(cell) == text


def test_a_table_for_the_terminal_and_for_a_page() -> None:
    table = Table("x", "Apples", ("", "s", "ratio"), [("one", 1.0, None), ("eleven", 11.0, 11.0)])
    assert table.text().splitlines() == ["  Apples", "             s  ratio", "  one     1.00", "  eleven  11.0   11.0"]
    assert table.markdown().splitlines()[-2:] == ["| one | 1.00 |  |", "| eleven | 11.0 | 11.0 |"]


def test_a_run_that_was_written_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(written([times(RUNS)], {"date": "today"}))
    (table,), where = read(tmp_path / "run.json")
    assert table.text() == times(RUNS).text()
    assert where["date"] == "today"
    assert drawn([table], where) == drawn([times(RUNS)], where)


def test_the_chart_has_a_line_for_each_contender() -> None:
    runs = [
        a_run(c, s * n, n, min(n, 512)) for c, s in (("limit", 1), ("2003", 4), ("svm", 2)) for n in (64, 512, 2000)
    ]
    swept = [a_run(contender, 900 / window, 512, window) for contender in ("limit", "svm") for window in (1, 16)]
    picture = ET.fromstring(drawn([times([*RUNS, *runs, *swept])], {"processor": "2 < 3"}))  # noqa: S314 our own
    lines = picture.findall("{*}polyline")
    assert len(lines) == 3 + 2
    assert all(len(line.attrib["points"].split()) >= 3 for line in lines)


def test_no_chart_of_nothing_fails() -> None:
    ET.fromstring(drawn([], {}))  # noqa: S314 our own


def test_all_sizes_are_run_when_somebody_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for value in ("", "0", "1"):
        monkeypatch.setenv(VARIABLE, value)
        found[value] = full()
    assert found == {"": False, "0": False, "1": True}
