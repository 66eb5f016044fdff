"""The benchmark's own arithmetic: what is read from the kernel, what is compared, what the oracle objects to."""

import os
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from services.bench.busy import OtherWork
from services.bench.charts import draw_charts, draw_in_terminal
from services.bench.contenders import CONTENDERS
from services.bench.figures import ACCEPT, DRAIN, Figure, Results, medians, ratios, total_cpu
from services.bench.oracle import Row, judge
from services.bench.plan import QUICK, Plan, UnknownPart, plan_bench
from services.bench.processes import TICK, cpu_seconds, memory_mib, parse_stat
from services.bench.report import render_text, to_json
from services.bench.run import _Bench, in_turn
from services.bench.shoppers import key_of, prepare_shoppers
from services.bench.wrk import NoClient, read_report, require_wrk
from services.cart.catalog import load_catalog
from services.checkout.names import key_name
from shared.settings import Settings


def _figure(part: str, contender: str, rate: float, cpu: float, connections: int = 32) -> Figure:
    return Figure(part, contender, connections, {"rate": rate, "cpu:web": cpu, "cpu:postgres": cpu / 4})


def test_a_process_whose_name_holds_blanks_and_brackets_is_read_all_the_same() -> None:
    line = "4711 (tmux: server) (x)) S 12 4711 4711 0 -1 4194560 1 2 3 4 150 50 7 3 20 0 1 0 999 1 1"
    stat = parse_stat(line)
    assert (stat.pid, stat.parent, stat.ticks) == (4711, 12, 150 + 50 + 7 + 3)


def test_the_cpu_of_a_child_counts_while_it_runs_and_after_it_was_waited_for() -> None:
    burn = "import time, sys\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\nsys.stdin.read()"
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {burn!r}], stdin=subprocess.PIPE)\n"
        "sys.stdin.readline(); child.communicate(); print('waited', flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"burnt\n"
        while_it_runs = cpu_seconds([parent.pid])
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"waited\n"
        afterwards = cpu_seconds([parent.pid])
    finally:
        parent.communicate()
    assert while_it_runs >= 0.3 - 2 * TICK
    assert afterwards >= while_it_runs
    assert cpu_seconds([parent.pid]) == 0


def test_memory_is_counted_in_mib() -> None:
    assert 5 < memory_mib([os.getpid()]) < 2000


def test_a_median_is_taken_value_by_value() -> None:
    rounds = [_figure(ACCEPT, "tillroll", rate, cpu) for rate, cpu in ((100, 4.0), (900, 1.0), (300, 2.0))]
    (figure,) = medians(rounds)
    assert figure.values == {"rate": 300, "cpu:web": 2.0, "cpu:postgres": 0.5}


def test_a_value_that_one_round_lacks_is_the_median_of_the_others() -> None:
    rounds = [Figure(ACCEPT, "tillroll", 32, values) for values in ({"rate": 1.0, "aof": 7.0}, {"rate": 3.0})]
    assert medians(rounds)[0].values == {"rate": 2.0, "aof": 7.0}


def test_ratios_compare_at_the_same_number_of_connections_and_count_every_process() -> None:
    figures = [
        _figure(ACCEPT, "tillroll", 4000, 0.2),
        _figure(ACCEPT, "tillroll", 9999, 9.9, connections=128),
        _figure(ACCEPT, "afternoon", 400, 4.0),
        _figure(ACCEPT, "floor-http", 5000, 0.1),
        _figure(DRAIN, "tillroll", 900, 0.1, connections=0),
        _figure(DRAIN, "floor-drain", 1000, 0.1, connections=0),
    ]
    found = ratios(figures)
    assert found["cpu_per_order_vs_afternoon"] == pytest.approx(0.05)
    assert found["accept_vs_afternoon"] == 10
    assert found["accept_vs_floor_http"] == 0.8
    assert found["drain_vs_floor_drain"] == 0.9
    assert found["drain_vs_afternoon"] is None


def test_the_client_is_not_counted() -> None:
    assert total_cpu({"cpu:web": 1.0, "cpu:redis": 0.5, "client_cpu": 9.0, "rate": 7.0}) == 1.5


NAMES = {uuid4(): Decimal(317) for _ in range(3)}
ROWS = [Row(name, name, total, 3) for name, total in NAMES.items()]


def test_the_oracle_is_content_with_one_row_for_each_name() -> None:
    verdict = judge(NAMES, iter(NAMES), ROWS)
    assert verdict.is_good
    assert (verdict.accepted, verdict.rows, verdict.cut_off) == (3, 3, 0)


def test_a_client_that_was_cut_off_has_an_order_and_no_answer() -> None:
    verdict = judge(NAMES, list(NAMES)[:2], ROWS)
    assert verdict.is_good
    assert verdict.cut_off == 1


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (ROWS[:2], "lost"),
        ([*ROWS[:2], Row(None, ROWS[2].name, None, 0)], "lost"),
        ([*ROWS, Row(uuid4(), ROWS[0].name, Decimal(317), 3)], "doubled"),
        ([*ROWS, Row(uuid4(), uuid4(), Decimal(317), 3)], "strange"),
        ([*ROWS, Row(uuid4(), None, Decimal(317), 3)], "strange"),
        ([*ROWS[:2], Row(ROWS[2].order_id, ROWS[2].name, Decimal(316), 3)], "differing"),
        ([*ROWS[:2], Row(ROWS[2].order_id, ROWS[2].name, Decimal(317), 2)], "differing"),
    ],
)
def test_the_oracle_objects_to_what_is_lost_doubled_strange_or_different(rows: list[Row], what: str) -> None:
    verdict = judge(NAMES, iter(NAMES), rows)
    assert not verdict.is_good
    assert getattr(verdict, what) == 1


def test_an_order_that_two_answers_bear_is_doubled() -> None:
    assert judge(NAMES, [*NAMES, next(iter(NAMES))], ROWS).doubled == 1


def test_nothing_accepted_is_no_good_verdict() -> None:
    assert not judge({}, [], []).is_good


def test_a_report_of_wrk_is_read_with_its_ids() -> None:
    told = 'submitted 12 9\nduplicates 0 0\nrefused 1 2\nlast_refusal  503 {"error":"Too busy"}\n'
    told += "duration_us 2000000\np50_us 1500\np99_us 9000\nmax_us 9100\nconnect 1\nbroken 3\ntimeouts 1\n"
    answers = read_report(40, told, "a\nb\n")
    assert (answers.first, answers.submitted, answers.order_ids, answers.rate) == (40, (12, 9), ("a", "b"), 1.0)
    assert (answers.p50_ms, answers.p99_ms, answers.timeouts, answers.refused, answers.broken) == (1.5, 9.0, 1, 3, 4)
    numbers = list(answers.numbers)
    assert len(set(numbers)) == 21
    assert (numbers[:2], numbers[12:14], answers.next_first) == ([40, 42], [41, 43], 64)
    assert answers.last_refusal == '503 {"error":"Too busy"}'


def test_without_wrk_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NoClient, match="apt install wrk"):
        require_wrk()


def test_no_user_buys_the_same_twice_within_a_window_and_every_checkout_has_a_name(tmp_path: Path) -> None:
    shoppers = prepare_shoppers(tmp_path, load_catalog(Settings()), users=5)
    assert len(shoppers.bodies) == 512
    named = list(shoppers.names(range(10, 30)))
    assert named[0][0] == key_name(shoppers.users[0], key_of(11))
    assert len({name for name, _ in named}) == 20
    assert named[0][1] != named[5][1]  # the same user, next time


def test_only_takes_parts_and_contenders_and_names_what_it_knows() -> None:
    plan = plan_bench(only="drain, tillroll", seconds=1)
    assert (plan.parts, plan.contenders, plan.seconds) == (("drain",), ("tillroll",), 1)
    assert plan_bench(quick=True) == QUICK
    with pytest.raises(UnknownPart, match="floor-http"):
        plan_bench(only="flor-http")


def test_the_report_holds_ratios_durability_and_the_oracle() -> None:
    redis = {"version": "7.0.15", "appendonly": "yes", "appendfsync": "everysec"}
    postgres = {"version": "18.4", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
    where = {"commit": "abc", "at": "today", "machine": "two cores", "cores": 2, "file_system": "ext4"}
    load = {"load_average": 0.4, "other_work": 0.01}
    results = Results({**where, **load, "python": "3.11", "redis": redis, "postgres": postgres})
    results.figures = [_figure(ACCEPT, "tillroll", 4000, 0.2), _figure(ACCEPT, "afternoon", 400, 4.0)]
    results.verdicts["tillroll"] = [judge(NAMES, iter(NAMES), ROWS), judge(NAMES, iter(NAMES), ROWS[:2])]
    text = render_text(results)
    assert "accept vs afternoon" in text
    assert "OFF: these figures do not count" in text
    assert "NOT GOOD" in text
    assert to_json(results)["ratios"]["accept_vs_afternoon"] == 10
    assert not to_json(results)["is_good"]
    assert "The machine was busy" not in text
    results.environment["other_work"] = 0.8
    assert "The machine was busy" in render_text(results)


def test_the_charts_are_drawings_of_the_medians() -> None:
    charts = draw_charts([_figure(ACCEPT, "tillroll", 4000, 0.2), _figure(ACCEPT, "afternoon", 400, 4.0)])
    assert sorted(charts) == ["cpu.svg", "rate.svg"]
    words = [element.text for element in ElementTree.fromstring(charts["cpu.svg"]).iter() if element.text]
    assert "afternoon" in words
    assert "5.00" in words


def test_a_terminal_gets_the_same_charts_in_bars_as_long_as_what_they_tell() -> None:
    drawn = draw_in_terminal([_figure(ACCEPT, "tillroll", 1000, 0.2), _figure(ACCEPT, "afternoon", 100, 2.0)])
    lines = drawn.split("\n")
    assert lines[0] == "CPU seconds of 1000 orders, client not counted  █ web  ▓ postgres"
    assert lines[1:3] == [" tillroll █████▓ 0.25", f"afternoon {'█' * 48}{'▓' * 12} 2.50"]
    assert f" tillroll, 32 {'█' * 60} 1000" in lines


def test_none_of_three_contenders_always_follows_the_same_one() -> None:
    contenders = [CONTENDERS[name] for name in ("tillroll", "afternoon", "floor-http")]
    turns = [in_turn(contenders, number) for number in range(4)]
    assert all({*turn} == {*contenders} for turn in turns)
    after = {(one.name, other.name) for turn in turns for one, other in pairwise(turn)}
    assert len(after) == 6


def test_other_work_is_what_neither_we_nor_our_children_did(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  1000 20 300 99999 50 6 7 8 0 0\ncpu0 1 2 3\n")
    other_work = OtherWork(stat)
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    stat.write_text(f"cpu  {1000 + 5 / TICK:.0f} 20 300 199999 50 6 7 8 0 0\n")
    assert 4.0 < other_work.seconds() < 4.8


def test_half_load_is_the_same_rate_for_tillroll_and_the_floor_and_the_own_half_for_all_others() -> None:
    bench = _Bench(Plan(), None, Results({}), print)  # type: ignore[arg-type]
    for name, rate in (("tillroll", 3000), ("floor-http", 5000), ("afternoon", 300)):
        bench.results.figures += [
            _figure(ACCEPT, name, rate + more, 1.0, level) for more in (0, 20, 90) for level in (8, 32)
        ]
        bench.results.figures += [_figure(ACCEPT, name, 10, 1.0, 128)]
    assert [bench._half_of_capacity(CONTENDERS[n]) for n in ("tillroll", "floor-http", "afternoon")] == [
        1510,
        1510,
        160,
    ]
