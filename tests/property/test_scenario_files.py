"""Whatever stands in a scenario file, the loader answers with a scenario or with its own error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from computepool_agents.scenario import MAX_NODES, ScenarioError, default_path, load

if TYPE_CHECKING:
    from pathlib import Path

# One of each kind of table is enough to damage.
WHOLE = default_path().read_text(encoding="utf-8")
HEAD, _, REST = WHOLE.partition("[[centers]]\n")
CENTER = "[[centers]]\n" + REST.split("\n\n", 1)[0] + "\n"
TEXT = HEAD + CENTER

SPLINTERS = st.sampled_from(
    [
        "", "=", "[", "]", "{", "}", '"', "'", ".", ",", "\n", "#", "[[", "]]", "-", "+", "_",
        "0", "1", "-1", "9" * 30, "0x" + "f" * 5_000, "1e400", "nan", "-inf", "true", "[1]", "{}",
        "{a = 1}", "2026-01-01", "2026-01-01T00:00:00Z", '""', '"\\u0000"', "''", "a.b.c",
        "devices = 8\n", "labels = 3\n", "assumed = [[]]\n", "[[centers]]\n", "[node_types.x]\n",
        "\x00", "\x7f", "\u2028", "é", "\U0001f600",
    ]
)  # fmt: skip
DAMAGE = st.tuples(st.integers(0, len(TEXT)), st.integers(0, 40), SPLINTERS)


def test_the_file_is_good_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "whole.toml"
    path.write_text(TEXT, encoding="utf-8")
    assert len(load(path).centers) == 1


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=4))
def test_a_damaged_file_is_a_scenario_or_a_scenario_error(
    tmp_path: Path, damages: list[tuple[int, int, str]]
) -> None:
    text = TEXT
    for place, length, splinter in damages:
        text = text[:place] + splinter + text[place + length :]
    path = tmp_path / "damaged.toml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        got = load(path)
    except ScenarioError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 -- a scenario is a good answer too
    else:
        groups = [group for center in got.centers for group in center.groups]
        assert 1 <= sum(group.count for group in groups) <= MAX_NODES
        assert all(0 <= center.foreign_share <= 1 for center in got.centers)
        assert all(bool(group.model) == (group.devices > 0) for group in groups)
