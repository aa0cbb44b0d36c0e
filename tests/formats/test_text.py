"""Text: logs line by line, progress bars, order."""

import io
import random
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bis.formats import Context, Side, Unreadable
from bis.formats.registry import compare
from bis.formats.screen import rows
from bis.formats.text import compare_streams

LOG = """2026-11-22 12:00:01,123 INFO loading /home/ana/churn/data.csv
2026-11-22 12:00:02,456 INFO 7043 rows
epoch 1 loss 0.6931 took 1.2s
<Model object at 0x7f3a5c0d1e50>
"""
AGAIN = """2026-11-23 15:00:01,789 INFO loading /tmp/again/churn/data.csv
2026-11-23 15:00:05,001 INFO 7043 rows
epoch 1 loss 0.6931 took 0.9s
<Model object at 0x55d0c8a01230>
"""


def test_a_log_of_other_times_says_the_same(judge) -> None:
    found = judge("<stdout>", LOG, AGAIN)
    assert (found.same, found.level, found.format) == (True, "meaning", "text")
    masked = {mask.rule: mask for mask in found.masked}
    assert {rule: mask.count for rule, mask in masked.items()} == {"time": 2, "path": 1, "duration": 1, "address": 1}
    assert masked["path"].example == "/home/ana/churn -> /tmp/again/churn"
    assert masked["duration"].example == "1.2s -> 0.9s"


@pytest.mark.parametrize(
    ("old", "new"), [("0.6931", "0.6932"), ("7043", "7042"), ("INFO", "WARN"), ("data.csv", "data.tsv")]
)
def test_one_changed_word_or_digit_is_named(judge, old: str, new: str) -> None:
    found = judge("<stdout>", LOG, AGAIN.replace(old, new, 1))
    assert found.same is False
    assert new in found.why
    assert not found.causes


def test_the_last_digits_of_a_number_are_a_difference_with_a_cause(judge) -> None:
    found = judge("<stdout>", "auc 0.912345678901\n", "auc 0.912345678902\n")
    assert found.same is False
    assert found.causes == ("float noise",)


def test_a_tolerance_is_only_what_was_declared(judge) -> None:
    assert judge("<stdout>", "auc 0.9123\n", "auc 0.9124\n").same is False
    found = judge("<stdout>", "auc 0.9123\n", "auc 0.9124\n", tolerance=1e-3)
    assert (found.same, found.level) == (True, "tolerance")
    assert judge("<stdout>", "rows 9123\n", "rows 9124\n", tolerance=1e-3).same is False


def test_the_same_lines_in_another_order_are_different(judge) -> None:
    found = judge("info.log", "a 1.2s\nb\nc\n", "c\na 1.9s\nb\n")
    assert found.same is False
    assert found.causes == ("thread order",)
    assert judge("info.log", "a\nb\nc\n", "c\na\nx\n").causes == ()


def test_an_inserted_line_is_told_as_one(judge) -> None:
    old = "".join(f"line {number}\n" for number in range(50))
    found = judge("info.log", old, old.replace("line 7\n", "line 7\nwarning\n"))
    assert found.same is False
    assert "only in the second: 'warning'" in found.why
    assert "more" not in found.why


def tqdm(refreshes: list[int], seconds: int, loss: dict[int, str]) -> str:
    shown = []
    for done in refreshes:
        bar = "█" * done + " " * (10 - done)
        shown.append(f"\r{done * 10:3}%|{bar}| {done}/10 [00:{seconds:02}<00:01, 4.{seconds}it/s, loss={loss[done]}]")
    return "".join(shown) + "\n"


LOSS = {done: f"0.{9 - done}1" if done < 10 else "0.01" for done in range(11)}


def test_a_progress_bar_is_what_it_shows_in_the_end(judge) -> None:
    found = judge("<stderr>", tqdm([0, 3, 7, 10], 5, LOSS), tqdm([0, 2, 5, 8, 10], 7, LOSS))
    assert found.same is True
    assert "progress bar" in {mask.rule for mask in found.masked}


@pytest.mark.parametrize("done", [3, 10])
def test_a_changed_metric_in_a_progress_bar_is_seen_wherever_both_showed_it(judge, done: int) -> None:
    found = judge("<stderr>", tqdm([0, 3, 7, 10], 5, LOSS), tqdm([0, 3, 8, 10], 7, {**LOSS, done: "0.99"}))
    assert found.same is False
    assert found.causes != ("thread order",)


def test_keras_rewrites_its_line_with_backspaces(judge) -> None:
    def epoch(steps: list[int], wait: str, accuracy: str) -> str:
        text = "Epoch 1/2\n"
        for step in steps:
            line = f"\x1b[1m{step}/80\x1b[0m \x1b[32m━━━━━━━\x1b[0m \x1b[1m{wait}\x1b[0m 1ms/step - accuracy: 0.3{step}"
            text += "\r" + line + "\x08" * 70
        return (
            text + f"\r\x1b[1m80/80\x1b[0m \x1b[32m━━━━━━━\x1b[0m \x1b[1m1s\x1b[0m 2ms/step - accuracy: {accuracy}   \n"
        )

    assert judge("<stdout>", epoch([10, 44], "1:55", "0.5123"), epoch([10, 41, 70], "0s", "0.5123")).same is True
    assert judge("<stdout>", epoch([10, 44], "2s", "0.5123"), epoch([10, 41], "0s", "0.5124")).same is False


def test_bars_on_several_lines_move_the_cursor_up(judge) -> None:
    old = "outer 0/2\ninner 0/9\x1b[A\router 1/2\n\rinner 5/9\n"
    new = "outer 0/2\ninner 0/9\rinner 3/9\x1b[A\router 1/2\n\rinner 5/9\n"
    assert judge("<stderr>", old, new).same is True
    assert judge("<stderr>", old, new.replace("outer 1/2", "outer 2/2")).same is False


def test_a_spinner_of_other_words_is_different(judge) -> None:
    assert judge("<stderr>", "downloading\rdone       \n", "downlaoding\rdone       \n").same is False


def test_line_ends_of_a_terminal_are_set_aside(judge) -> None:
    found = judge("<stdout>", "a\r\nb\r\n", "a\nb\n")
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["terminal control"])


def test_a_file_whose_lines_end_with_carriage_returns_alone_is_lines(judge) -> None:
    old = "name ana\rage 31\rage 32\rcity Bern\r"
    for new in (old.replace("age 31\r", ""), old.replace("31", "33"), old.replace("Bern", "Basel")):
        found = judge("people.txt", old, new)
        assert (found.same, found.causes) == (False, ())
    assert judge("people.txt", old, old.replace("age 31\r", "")).why.startswith("line 2: only in the first: 'age 31'")
    assert judge("<stdout>", "x 1/3\rx 2/3\rx 3/3", "x 1/3\rx 3/3").same is True


def test_lightgbm_may_choose_either_way_to_count(judge) -> None:
    row = (
        "[LightGBM] [Info] Auto-choosing row-wise multi-threading, the overhead of testing was 0.000123 seconds.\n"
        "You can set `force_row_wise=true` to remove the overhead.\n"
        "And if memory is not enough, you can set `force_col_wise=true`.\n[LightGBM] [Info] Total Bins 100\n"
    )
    column = (
        "[LightGBM] [Info] Auto-choosing col-wise multi-threading, the overhead of testing was 0.002 seconds.\n"
        "You can set `force_col_wise=true` to remove the overhead.\n[LightGBM] [Info] Total Bins 100\n"
    )
    found = judge("<stdout>", row, column)
    assert found.same is True
    assert "timing choice" in {mask.rule for mask in found.masked}
    assert judge("<stdout>", row, column.replace("100", "101")).same is False


def test_matplotlib_may_say_that_it_looks_for_fonts(judge) -> None:
    said = "Matplotlib is building the font cache; this may take a moment.\n"
    found = judge("<stderr>", f"{said}loss 0.25\n", "loss 0.25\n")
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["timing choice"])
    assert judge("<stderr>", f"{said}loss 0.25\n", "loss 0.26\n").same is False


def test_a_file_that_holds_a_process_id_and_nothing_else(judge) -> None:
    found = judge(".dvc/tmp/lock", " 25713\n", " 27818\n")
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["process id"])
    assert judge(".dvc/tmp/lock", "25713 0.5", "25713 0.6").same is False
    assert judge("result.txt", "25713", "27818").same is False
    assert judge("mlruns/0/1/tags/mlflow.runName", "clumsy-bird-123", "sassy-wolf-20").same is True


def test_a_line_end_that_one_text_lacks_is_set_aside_by_name(judge) -> None:
    found = judge("notes.txt", "a\nb", "a\nb\n")
    assert (found.same, [mask.rule for mask in found.masked]) == (True, ["white space at the end of lines"])


@pytest.mark.parametrize(
    ("old", "new", "causes"),
    [
        ("['a.csv', 'b.csv'] 2", "['b.csv', 'a.csv'] 2", ("order of words",)),
        ("['a.csv', 'b.csv']", "['b.csv', 'c.csv']", ()),
        ("f1 0.91, auc 0.62", "f1 0.62, auc 0.91", ()),
        ("a 1", "a  1", ()),
    ],
)
def test_names_in_another_order_are_a_cause_and_numbers_are_none(
    judge, old: str, new: str, causes: tuple[str, ...]
) -> None:
    found = judge("<stdout>", old + "\n", new + "\n")
    assert (found.same, found.causes) == (False, causes)


def test_bytes_that_are_no_utf8_count_one_by_one(judge) -> None:
    text = b"caf\xe9 " * 20
    assert judge("old.log", text + b"took 1s", text + b"took 2s").same is True
    assert judge("old.log", text + b"took 1s", text.replace(b"\xe9", b"\xe8", 1) + b"took 1s").same is False


def test_a_bar_rewritten_for_ever_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_text("\rx 1/2" * 60_000)
    with path.open("rb") as file, pytest.raises(Unreadable, match="rewritten more than"):
        list(rows(file))


@given(st.text(alphabet="ab \r\n\x08\x1b[0123456789ABCDGKJmH;?%|/", max_size=80))
def test_any_terminal_text_is_read_and_is_the_same_as_itself(text: str) -> None:
    data = text.encode()
    for row in rows(io.BytesIO(data)):
        assert "\r" not in row.text
    assert compare_streams(io.BytesIO(data), io.BytesIO(data), Context()).same is True


@given(st.lists(st.text(alphabet="abcdef 0123456789.", min_size=1, max_size=30), min_size=1, max_size=20), st.data())
def test_a_word_changed_anywhere_in_a_log_is_seen(lines: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(lines) - 1))
    changed = [*lines]
    changed[place] += " xyzzy"
    old, new = ("\n".join(some).encode() for some in (lines, changed))
    found = compare_streams(io.BytesIO(old), io.BytesIO(new), Context())
    assert found.same is False


@pytest.mark.slow
def test_a_log_of_three_million_lines_is_compared_in_bounded_memory(tmp_path: Path) -> None:
    noon, chance = 1_795_348_800, random.Random(0)
    for name in ("before", "after"):
        with (tmp_path / name).open("w") as file:
            for number in range(3_000_000):
                stamp = f"12:{number // 60 % 60:02}:{number % 60:02},{chance.randrange(1000):03}"
                file.write(f"2026-11-22 {stamp} INFO step {number} loss=0.{number:07} took {chance.random():.3f}s\n")
    side = Side(started=noon, ended=noon + 3600)
    found = compare("train.log", tmp_path / "before", tmp_path / "after", Context(before=side, after=side))
    assert found.same is True
    assert sum(mask.count for mask in found.masked) > 5_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1 << 20  # KiB


EPOCHS = """
  epoch    train_loss    valid_acc    cp     dur
-------  ------------  -----------  ----  ------
      1        0.7156       0.4833     +  0.2987
      2        0.6682       0.6167        0.3443
"""
FRAME = """
                    model   score  fit_time  score_time
1              GaussianNB  0.9195  0.012584    0.020713
2  DecisionTreeClassifier  1.0000  0.062763    0.004423
"""


@pytest.mark.parametrize(
    ("table", "old", "new"), [(EPOCHS, "0.3443", "0.2750"), (EPOCHS, "0.2987", "12.25"), (FRAME, "0.062763", "0.1")]
)
def test_a_printed_column_of_durations_is_known_by_its_head(judge, table: str, old: str, new: str) -> None:
    found = judge("<stdout>", table, table.replace(old, new))
    assert (found.same, found.masked[0].example) == (True, f"{old} -> {new}")


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        (EPOCHS, "0.6682", "0.6683"),
        (EPOCHS, "0.6167", "0.6168"),
        (EPOCHS, "0.3443", "90000.5"),
        (EPOCHS.replace("dur", "auc"), "0.3443", "0.3444"),
        (EPOCHS.replace("\n      2", "\nsaved the model\n      2"), "0.3443", "0.3444"),
        (FRAME, "1.0000", "0.9999"),
        (FRAME.replace("fit_time", "predicted_time"), "0.062763", "0.062764"),
    ],
)
def test_every_other_column_counts(judge, table: str, old: str, new: str) -> None:
    assert judge("<stdout>", table, table.replace(old, new)).same is False


def test_a_loop_that_went_on_for_longer_is_named(judge) -> None:
    lines = [f"Trial {number} finished with value: {number * 0.37:.4f}\n" for number in range(9)]
    found = judge("<stdout>", "".join(lines[:6]) + "done\n", "".join(lines) + "done\n")
    assert (found.same, found.causes) == (False, ("more rounds",))
    found = judge("<stdout>", "".join(lines[:6]) + "done\n", "".join(lines[:6]) + "a warning\ndone\n")
    assert (found.same, found.causes) == (False, ())


def test_what_is_written_below_a_bar_moves_with_the_width_of_its_rate(judge) -> None:
    """Lightning's bar, which rich has broken in two."""
    one = f"Epoch 2/2 {'━' * 10} 8/8 0:00:01 • 0:00:00 171.77it/s v_num: 0.\n                  val_loss: 0.064   \n"
    two = f"Epoch 2/2 {'━' * 11} 8/8 0:00:02 • 0:00:00 77.81it/s v_num: 0.\n                 val_loss: 0.064    \n"
    assert judge("<stdout>", one, two).same is True
    assert judge("<stdout>", one, two.replace("0.064", "0.065")).same is False
    assert judge("<stdout>", f"done\n{one[-40:]}", f"done\n{two[-40:]}").same is False


SEARCH = """
   cv_results_
   <td class="fitted-att-type">dict</td>
   <td>{&#x27;me...me&#x27;: array([0.0010..., 0.0039]), &#x27;me...re&#x27;: array([0.96  ..., 0.9533]), ...}</td>
   refit_time_
   <td class="fitted-att-type">float</td>
   <td>0.005199</td>
   best_score_
   <td>0.95</td>
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("0.0010..., 0.0039", "0.0029..., 0.0035", True),
        ("0.005199", "0.0007985", True),
        ("0.005199", "90000.5", False),
        ("0.9533", "0.9534", False),
        ("0.95<", "0.96<", False),
    ],
)
def test_scikit_learn_shows_how_long_a_search_took(judge, old: str, new: str, same: bool) -> None:
    assert judge("search.html", SEARCH, SEARCH.replace(old, new)).same is same
