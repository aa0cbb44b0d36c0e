"""Histories of metrics, their writer and their readers: the same in SQLite and in PostgreSQL."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from bis.ledger import batches, columns, curves, folding, metric, overviews, points, tracked
from bis.ledger.group import Writer
from bis.ledger.places import database_at
from bis.ledger.readers import Readers
from bis.nouns.tracking import Point

RUN = "a" * 32
MOST = (1 << 63) - 1


@pytest.fixture
def database(ledger_place):
    database = database_at(ledger_place)
    with database.writing() as connection:
        tracked.create(connection, RUN, experiment=0, name="r", user="ada", started=1, tags={})
    yield database
    database.close()


@pytest.fixture
def writer(database):
    writer = Writer(database)
    yield writer
    writer.close()


@pytest.fixture
def readers(database):
    readers = Readers(database)
    yield readers
    readers.close()


def drawn(count, seed=1):
    draw = random.Random(seed)
    odd = [math.nan, math.inf, -math.inf, 0.0, columns.LARGEST]
    return [
        Point(
            "loss",
            draw.choice(odd) if draw.random() < 0.05 else draw.random(),
            draw.choice([0, MOST, draw.randrange(1000)]),
            draw.choice([-MOST - 1, MOST, draw.randrange(1000)]),
        )
        for _ in range(count)
    ]


def ranks(found):
    return [columns.rank((point.moment, point.step, point.value)) for point in found]


def test_what_was_logged_is_read_in_order_whole_and_in_pages(database, monkeypatch):
    monkeypatch.setattr(folding, "LONG_POINTS", 300)
    monkeypatch.setattr(metric, "CHUNK", 128)
    logged = drawn(1000)
    with database.writing() as connection:
        seq = tracked.seq_of(connection, RUN)
        for start in range(0, 1000, 50):
            points.append(connection, seq, logged[start : start + 50])
        points.append(connection, seq, logged[:100])  # sent again
    expected = sorted(set(ranks(logged)))
    for ends in (False, True):
        with database.reading() as connection:
            assert ranks(points.history(connection, seq, "loss", limit=5000)) == expected
            page = points.history(connection, seq, "loss", limit=70)
            pages = list(page)
            while page:
                page = points.history(connection, seq, "loss", limit=70, after=page[-1])
                pages += page
            assert ranks(pages) == expected
            shown = points.chart(connection, seq, "loss", first=None, last=None, most=20)
            assert {repr(value) for value in (math.nan, math.inf, -math.inf)} <= {repr(one.value) for one in shown}
        if not ends:
            with database.writing() as connection:
                tracked.update(connection, RUN, status="finished", ended=2)


def test_the_newest_point_is_by_step_then_moment_then_value(database):
    with database.writing() as connection:
        for value, moment, step in ((1.0, 5, 2), (2.0, 9, 1), (math.nan, 5, 2), (math.inf, 4, 2), (3.0, 5, 2)):
            batches.log(connection, RUN, [Point("loss", value, moment, step)])
    with database.reading() as connection:
        assert points.newest(connection, tracked.seq_of(connection, RUN)) == [Point("loss", 3.0, 5, 2)]


def test_a_chart_and_an_overview_know_all_points_folded_or_not(database, monkeypatch):
    monkeypatch.setattr(metric, "CHUNK", 64)
    values = [9.5 if step == 777 else math.nan if step % 100 == 3 else step / 2000 for step in range(2000)]
    rows = [Point("loss", value, 1000 + step, step) for step, value in enumerate(values)]
    with database.writing() as connection:
        seq = tracked.seq_of(connection, RUN)
        points.append(connection, seq, rows[:1900])
        points.fold(connection, seq)
        points.append(connection, seq, rows[1900:])
    with database.reading() as connection:
        curve = curves.curve(connection, seq, "loss", places=50)
        (told,) = overviews.overview(connection, seq)
        assert points.counts(connection, seq) == {"loss": 2000}
    assert not curve.exact
    assert (curve.points, curve.odd[0].points) == (2000, 20)
    assert [one.high_at for one in curve.buckets if one.high == 9.5] == [777]
    for step, value in enumerate(values):
        assert math.isnan(value) or any(
            one.first <= step <= one.last and one.low <= value <= one.high for one in curve.buckets
        )
    assert (told.points, told.odd, told.greatest, told.greatest_at) == (2000, 20, 9.5, 777)
    assert (told.first_at, told.newest_at, told.least, told.least_at) == (0, 1999, 0.0, 0)


def test_many_who_write_and_read_at_once_lose_nothing(writer, readers):
    def write(number):
        writer.submit(lambda c: batches.log(c, RUN, [Point("loss", float(number), number, number)])).result(60)

    def read(connection):
        return points.history(connection, tracked.seq_of(connection, RUN), "loss", limit=5000)

    with ThreadPoolExecutor(16) as pool:
        written = [pool.submit(write, number) for number in range(300)]
        seen = [len(readers.ask(read)) for _ in range(20)]
        for one in written:
            one.result(60)
    assert seen == sorted(seen)
    assert [point.step for point in readers.ask(read)] == list(range(300))


def test_a_batch_that_is_refused_leaves_nothing(writer, readers):
    def bad(connection):
        batches.log(connection, RUN, [Point("loss", 1.0, 1, 1)], {"p": "1"})
        batches.log(connection, RUN, [Point("loss", 2.0, 2, 2)], {"p": "2"})

    with pytest.raises(Exception, match="has other values"):
        writer.submit(bad).result(60)
    assert readers.ask(lambda c: points.newest(c, tracked.seq_of(c, RUN))) == []
