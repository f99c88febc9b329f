"""What pages are made of: differences, times, statuses, icons, JSON; and rules that every template keeps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.template import Context, Engine, Template
from django.template.loader import get_template
from hypothesis import given
from hypothesis import strategies as st

from apps.core import icons, statuses
from apps.core.diffs import DiffLine, diff_fields, diff_texts
from apps.core.moments import relative

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
# Short lines of few letters, so that generated texts share some.
TEXTS = st.lists(st.text("ab .", max_size=6), max_size=12).map("\n".join)


def side(lines: tuple[DiffLine, ...], *kinds: str) -> list[str]:
    return ["".join(text for text, _ in line.segments) for line in lines if line.kind in kinds]


def render(source: str, **values: object) -> str:
    return str(Template("{% load ui %}" + source).render(Context(values)))


@given(TEXTS, TEXTS)
def test_a_difference_holds_both_texts(old: str, new: str) -> None:
    lines = diff_texts(old, new)

    if old.splitlines() == new.splitlines():
        assert lines == ()
        return
    hidden = [line for line in lines if line.kind == "skipped"]
    if not hidden:
        assert side(lines, "same", "removed") == old.splitlines()
        assert side(lines, "same", "added") == new.splitlines()
    # Line numbers only grow, on each side.
    for numbers in ([line.old for line in lines if line.old], [line.new for line in lines if line.new]):
        assert numbers == sorted(set(numbers))


def test_changed_words_are_marked_within_a_replaced_line() -> None:
    removed, added = diff_texts("Answer in one short sentence.", "Answer in two short sentences.")

    assert [text for text, changed in removed.segments if changed] == ["one", "sentence"]
    assert [text for text, changed in added.segments if changed] == ["two", "sentences"]


def test_lines_far_from_a_change_are_folded() -> None:
    old = "\n".join(f"line {number}" for number in range(40))
    lines = diff_texts(old, old.replace("line 20", "line twenty"))

    assert [line.segments[0][0] for line in lines if line.kind == "skipped"] == [
        "17 unchanged lines",
        "16 unchanged lines",
    ]
    assert len(lines) == 2 + 3 + 2 + 3


def test_records_differ_field_by_field() -> None:
    fields = diff_fields(
        {"a": 1, "schema": {"b": 1, "a": 2}, "gone": "x"}, {"a": 1, "schema": {"a": 2, "b": 3}, "new": True}
    )

    assert [field.name for field in fields if field.lines] == ["schema", "new", "gone"]
    assert side(fields[1].lines, "added") == ['  "b": 3']


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (timedelta(seconds=-3), "just now"),
        (timedelta(seconds=-59), "59 seconds ago"),
        (timedelta(minutes=-1), "1 minute ago"),
        (timedelta(hours=-26), "1 day ago"),
        (timedelta(days=400), "in 1 year"),
    ],
)
def test_times_read_as_people_say_them(offset: timedelta, words: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert relative(now + offset, now) == words


def test_a_status_carries_its_reason_and_escapes_it() -> None:
    text = statuses.badge("timed_out", "<model> did not answer")

    assert "timed out" in text
    assert "state-red" in text
    assert "&lt;model&gt; did not answer" in text


def test_json_folds_and_escapes() -> None:
    text = render("{% json value %}", value='{"a": ["<b>", null, 1.5]}')

    assert text.count("<details") == 2
    assert "&lt;b&gt;" in text
    assert '<span class="literal">null</span>' in text


def test_text_that_is_no_json_is_shown_as_it_is() -> None:
    assert "{not json" in render("{% json value %}", value="{not json")


def test_a_chart_without_figures_says_so() -> None:
    empty = {"times": [1], "series": [{"label": "a", "values": [0]}]}

    assert "No calls yet" in render('{% chart figures empty="No calls yet" %}', figures=empty)
    assert "<script" not in render("{% chart figures %}", figures=None)


def test_chart_figures_cannot_break_out_of_their_script() -> None:
    figures = {"times": [1], "series": [{"label": "</script><script>alert(1)", "values": [1]}]}

    assert "</script><script>alert" not in render("{% chart figures %}", figures=figures)


def test_an_unknown_icon_says_how_to_get_it() -> None:
    with pytest.raises(icons.UnknownIcon, match="scripts/vendor --icon no-such-icon"):
        icons.icon("no-such-icon")


def test_every_icon_that_is_named_is_vendored() -> None:
    in_templates = re.compile(r"""(?:\{% icon "|icon=")([a-z0-9-]+)""")
    named = {name for path in TEMPLATES for name in in_templates.findall(path.read_text(encoding="utf-8"))}
    in_python = re.compile(r"""\bicon=["']([a-z0-9-]+)["']""")
    named |= {
        name for path in (ROOT / "apps").rglob("*.py") for name in in_python.findall(path.read_text(encoding="utf-8"))
    }

    assert len(named) > 20
    assert named <= icons.drawings().keys()


def test_vendored_files_are_as_the_manifest_says() -> None:
    check = subprocess.run([sys.executable, "scripts/vendor", "--check"], cwd=ROOT, capture_output=True, text=True)

    assert check.returncode == 0, check.stderr
    manifest = json.loads((ROOT / "static/vendor/manifest.json").read_text())
    assert all(package["licence"] for package in manifest["packages"])


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
def test_templates_compile_and_keep_to_the_content_security_policy(path: Path) -> None:
    get_template(str(path.relative_to(ROOT / "templates")))
    source = path.read_text(encoding="utf-8")

    assert not re.search(r"\sstyle=", source), "a style attribute would be refused by the browser"
    assert not re.search(r"\son[a-z]+=", source), "an event attribute would be refused by the browser"
    for script in re.findall(r"<script[^>]*>", source):
        assert "src=" in script or "nonce" in script, f"{script} would be refused by the browser"
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", source), "nothing comes from another host"


def test_the_form_renderer_also_finds_the_widgets_of_libraries() -> None:
    from apps.core.forms import TablerRenderer

    assert isinstance(TablerRenderer().engine.engine, Engine)
    assert TablerRenderer().get_template("django/forms/widgets/text.html")
    assert TablerRenderer().get_template("admin/widgets/foreign_key_raw_id.html")
