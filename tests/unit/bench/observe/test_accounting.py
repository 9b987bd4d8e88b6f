"""What is counted between two looks: logs that begin new segments, processes and counters that begin anew."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.bench.observe import exposition, proc
from services.bench.observe.components import processes
from services.bench.observe.proc import Usage
from services.bench.observe.scraping import Scraper, increase, summed
from services.bench.observe.tracks import ComponentTrack
from services.bench.observe.wal import Position, Segments, growth

TEXT = """# HELP apiserver_request_duration_seconds x
# TYPE apiserver_request_duration_seconds histogram
apiserver_request_duration_seconds_bucket{le="0.1",resource="pods",verb="GET"} 8.0
apiserver_request_duration_seconds_bucket{le="1.0",resource="pods",verb="GET"} 10.0
apiserver_request_duration_seconds_bucket{le="+Inf",resource="pods",verb="GET"} 10.0
apiserver_request_duration_seconds_count{resource="pods",verb="GET"} 10.0
apiserver_request_duration_seconds_sum{resource="pods",verb="GET"} 2.5
apiserver_request_duration_seconds_created{resource="pods",verb="GET"} 1.7e9
apiserver_request_total{code="OK",resource="pods",verb="GET"} 10.0
apiserver_request_total{code="a \\"quoted\\" one",resource="pods",verb="GET"} 3.0
other_total 5
etcd_mvcc_db_total_size_in_bytes 2.048e+04
"""
SECONDS = "apiserver_request_duration_seconds"
GET_PODS = (("resource", "pods"), ("verb", "GET"))


def read(text: str = TEXT) -> exposition.Exposition:
    names = ("apiserver_request_total", "etcd_mvcc_db_total_size_in_bytes")
    return exposition.Reader(names, (SECONDS,)).read(text)


@pytest.mark.parametrize(
    ("before", "after", "written"),
    [
        (Segments(Position(0, 100), {}), Segments(Position(0, 350), {}), 250),
        (Segments(Position(0, 100), {}), Segments(Position(1, 50), {0: 1000}), 950),
        (Segments(Position(1, 900), {0: 1000}), Segments(Position(3, 10), {0: 1000, 1: 990, 2: 1000}), 90 + 1000 + 10),
        (Segments(Position(7, 10), {}), Segments(Position(0, 30), {}), 30),
        (Segments(Position(2, 10), {}), Segments(Position(4, 5), {3: 1000}), 1005),
    ],
    ids=["one segment", "a new one", "two new ones", "another log", "the old one is gone"],
)
def test_a_log_grows_by_what_is_written_over_its_segments(before: Segments, after: Segments, written: int) -> None:
    assert growth(before, after) == written


def test_only_what_is_wanted_is_read_and_labels_are_unescaped() -> None:
    found = read()
    histogram = found.histograms[SECONDS][GET_PODS]
    assert (histogram.count, histogram.total) == (10.0, 2.5)
    assert histogram.counts == {0.1: 8.0, 1.0: 10.0, math.inf: 10.0}
    assert histogram.quantile(0.5) == pytest.approx(0.0625)
    assert histogram.quantile(0.99) == pytest.approx(0.1 + 0.9 * 1.9 / 2)
    assert found.total("apiserver_request_total") == 13.0
    assert found.total("etcd_mvcc_db_total_size_in_bytes") == 20480.0
    assert found.total("other_total") is None
    assert (("code", 'a "quoted" one'), *GET_PODS) in [labels for _, labels in found.values]


def test_a_server_that_was_restarted_counts_from_nothing() -> None:
    before = read()
    fewer = read(TEXT.replace(" 10.0", " 4.0").replace(" 8.0", " 4.0").replace(" 2.5", " 0.1"))
    added = increase(before, fewer)
    assert added.histograms[SECONDS, GET_PODS].count == 4.0
    assert summed(added.counters, "apiserver_request_total", code="OK") == 4.0
    assert increase(before, before).histograms == {}


def test_a_scraper_adds_up_from_its_first_scrape_on() -> None:
    scraper = Scraper("127.0.0.1:1", ("apiserver_request_total",), (SECONDS,))
    assert scraper.take(read()).histograms == {}
    more = read(TEXT.replace(" 10.0", " 17.0"))
    scraper.take(more)
    scraper.take(more)
    assert scraper.total.histograms[SECONDS, GET_PODS].count == 7.0
    assert summed(scraper.total.counters, "apiserver_request_total", verb="GET") == 7.0


def test_a_process_that_is_restarted_goes_on_in_its_series() -> None:
    track = ComponentTrack("rp-1", "resource-partition")
    track.look(0.0, 11, Usage(100.0, 5e6, 4, 1e6, 1))
    track.look(1.0, 11, Usage(100.5, 6e6, 4, 1.5e6, 1))
    track.look(2.0, 0, None)
    track.look(3.0, 12, Usage(0.25, 3e6, 3, 1e5, 2))
    series = track.series()
    assert series.cpu_s.tolist() == [0.0, 0.5, 0.5, 0.75]
    assert series.written_bytes.tolist() == [0.0, 5e5, 5e5, 6e5]
    assert np.isnan(series.resident_bytes[2])
    assert series.cores.tolist() == [0.5, 0.0, 0.25]
    assert series.cores_mean() == 0.25


def test_a_series_of_one_look_has_no_rates() -> None:
    track = ComponentTrack("rp-1", "resource-partition")
    assert track.series().cores_mean() == 0.0
    track.look(0.0, 11, Usage(100.0, 5e6, 4, math.nan, 1))
    assert len(track.series().cores) == 0
    assert track.series().cores_mean() == 0.0


def test_bytes_that_were_cancelled_before_they_reached_the_disk_were_not_written() -> None:
    assert proc.written_bytes("rchar: 1\nwrite_bytes: 8192\ncancelled_write_bytes: 4096\n") == 4096.0


def test_components_know_where_their_metrics_are() -> None:
    found = processes(
        {
            "components": [
                {"name": "etcd-tp-1", "kind": "etcd", "partition": "tp-1", "pid": 5, "ports": {"client": 1, "peer": 2}},
                {"name": "tp-1", "kind": "tenant-partition", "partition": "tp-1", "pid": 0, "ports": {"metrics": 3}},
                {"name": "odd", "kind": "other", "partition": "", "pid": 7},
            ]
        }
    )
    assert [one.metrics for one in found.values()] == ["127.0.0.1:1", "127.0.0.1:3", ""]
    assert [one.is_server for one in found.values()] == [False, True, False]
