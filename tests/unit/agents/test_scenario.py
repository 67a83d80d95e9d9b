"""The scenario loader: what is read, and how each kind of bad file is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from computepool_agents import scenario as scenario_module
from computepool_agents.scenario import (
    ScenarioError,
    default_path,
    load,
)

SMALL = """
format = 1
name = "small"
seed = 7

[[facts]]
about = "hills"
field = "centers"
value = 1
source = "the atlas"

[assumptions]
cpu_milli = "a guess"
"labels.pue" = "another"

[node_types.big]
cpu_milli = 64_000
memory_mib = 1_024
disk_mib = 0
devices = 8
model = "H800"
device_memory_mib = 81_920
labels = { arch = "x86_64" }
assumed = ["cpu_milli"]

[node_types.plain]
cpu_milli = 32_000
memory_mib = 512
disk_mib = 100
devices = 0

[[centers]]
name = "hill-1"
region = "hills"
role = "core"
nodes = { plain = 2, big = 3 }
foreign_share = 0.5
latency_ms = 1
labels = { pue = "1.2" }
assumed = ["labels.pue"]
"""

CENTER_2 = """
[[centers]]
name = "hill-2"
region = "hills"
role = "core"
nodes = { plain = 1 }
foreign_share = 0
latency_ms = 0.5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "s.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    got = load(write(tmp_path, SMALL))
    assert (got.name, got.seed) == ("small", 7)
    assert got.facts[0].source == "the atlas"
    assert got.assumptions == {"cpu_milli": "a guess", "labels.pue": "another"}
    (center,) = got.centers
    assert (center.name, center.region, center.role) == ("hill-1", "hills", "core")
    assert (center.foreign_share, center.latency_ms) == (0.5, 1.0)
    assert center.labels == {"pue": "1.2"}
    assert center.assumed == ("labels.pue",)
    big, plain = center.groups
    assert (big.node_type, big.count, big.devices, big.model) == ("big", 3, 8, "H800")
    assert (big.cpu_milli, big.memory_mib, big.disk_mib) == (64_000, 1_024, 0)
    assert (big.device_memory_mib, big.labels) == (81_920, {"arch": "x86_64"})
    assert big.assumed == ("cpu_milli",)
    assert (plain.count, plain.devices, plain.model, plain.device_memory_mib) == (2, 0, "", 0)


def test_what_is_read_is_frozen(tmp_path: Path) -> None:
    got = load(write(tmp_path, SMALL))
    for value in (got, got.centers[0], got.centers[0].groups[0], got.facts[0]):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, "other")


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        ("format = 1", "", "format: is missing"),
        ("format = 1", "format = 2", "format: must be 1 to 1, not 2"),
        ('name = "small"', 'name = "a b"', "name: must be at most 63 letters, digits"),
        ('name = "small"', f'name = "{"a" * 64}"', "name: must be at most 63 letters, digits"),
        ("seed = 7", "seed = -1", "seed: must be 0 to 9,223"),
        ("seed = 7", "seed = true", "seed: must be an integer, not True"),
        ("seed = 7", "seed = 7.0", "seed: must be an integer, not 7.0"),
        ("seed = 7", f"seed = 0x{'f' * 9_000}", "seed: must be 0 to 9,223"),
        ("seed = 7", f"seed = {'9' * 9_000}", "is not TOML: "),
        ("seed = 7", f"seed{'.a' * 5_000} = 7", "seed: must be an integer, not that"),
        ("seed = 7", "seed = 7\nsede = 8", "sede: is unknown here"),
        ("value = 1", "value = nan", "facts[0].value: must be within 1e+15 of 0, not nan"),
        ("value = 1", "value = []", "facts[0].value: must be a text or a number, not []"),
        ('source = "the atlas"', "", "facts[0].source: is missing"),
        ('source = "the atlas"', 'source = "a\\nb"', "facts[0].source: must be 1 to 1,024 print"),
        ('source = "the atlas"', 'source = " "', "facts[0].source: must be 1 to 1,024 printable"),
        ("cpu_milli = 64_000", "cpu_milli = 0", "node_types.big.cpu_milli: must be 1 to"),
        ("memory_mib = 512", "memory_mib = 1e3", "node_types.plain.memory_mib: must be an integ"),
        ("disk_mib = 100", f"disk_mib = {1 << 41}", "node_types.plain.disk_mib: must be 0 to"),
        ("devices = 8", "devices = 65", "node_types.big.devices: must be 0 to 64, not 65"),
        ("devices = 8", "devices = 0", "node_types.big.device_memory_mib: is unknown here"),
        ('model = "H800"', "", "node_types.big.model: is missing"),
        ("node_types.plain", 'node_types."a b"', "node_types.a b: must be at most 63 letters"),
        ('arch = "x86_64"', "arch = 64", "node_types.big.labels.arch: must be a name, not 64"),
        ('["cpu_milli"]', '["cpu"]', "node_types.big.assumed: 'cpu' is no field of this table"),
        ('["cpu_milli"]', '[["x"]]', "node_types.big.assumed: ['x'] is no field of this table"),
        ('["cpu_milli"]', '"cpu_milli"', "node_types.big.assumed: must be a list of fields"),
        ('name = "hill-1"', "", "centers[0].name: is missing"),
        ('name = "hill-1"', 'name = "../x"', "centers[0].name: must be at most 63 letters"),
        ('region = "hills"', 'region = ""', "centers[0].region: must be at most 63 letters"),
        ('role = "core"', 'role = "boss"', "centers[0].role: must be one of core, support, rec"),
        ("{ plain = 2, big = 3 }", "{}", "centers[0].nodes: must name at least one node type"),
        ("{ plain = 2, big = 3 }", "[]", "centers[0].nodes: must be a table, not []"),
        ("plain = 2", "plane = 2", "centers[0].nodes.plane: is no entry of node_types"),
        ("plain = 2", "plain = 0", "centers[0].nodes.plain: must be 1 to 200,000, not 0"),
        ("plain = 2", "plain = 199_998", "centers: have 200,001 nodes in all; at most 200,000"),
        ("foreign_share = 0.5", "foreign_share = 1.01", "centers[0].foreign_share: must be 0 to 1"),
        ("foreign_share = 0.5", "foreign_share = nan", "centers[0].foreign_share: must be 0 to 1"),
        ("foreign_share = 0.5", 'foreign_share = "x"', "centers[0].foreign_share: must be a num"),
        ("latency_ms = 1", "latency_ms = -1", "centers[0].latency_ms: must be 0 to 60000, not -1"),
        ("latency_ms = 1", "latency_ms = inf", "centers[0].latency_ms: must be 0 to 60000, not"),
        ('pue = "1.2"', 'pue = "1 2"', "centers[0].labels.pue: must be at most 63 letters"),
        ('"labels.pue" = "another"', "", "assumptions: lack 'labels.pue', which is assumed"),
        (
            'cpu_milli = "a guess"',
            'x = "y"\ncpu_milli = "a guess"',
            "assumptions.x: is not assumed",
        ),
        ("[[centers]]", "[centers]", "centers: must be an array of tables, not {"),
        ("[[centers]]", "centers = [3]\n[[x]]", "node_types.plain.centers: is unknown here"),
        ("[node_types.plain]", "[node_types.plain", "is not TOML: "),
        ("seed = 7", f"seed = {'[' * 5_000}", "is not TOML: "),
    ],
)
def test_a_bad_file_is_refused_by_field(tmp_path: Path, old: str, new: str, want: str) -> None:
    assert old in SMALL
    path = write(tmp_path, SMALL.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {want}")
    assert len(str(caught.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("old", "new", "want"),
    [
        ("hill-2", "hill-1", "centers[1].name: 'hill-1' is there twice"),
        ('"core"', '"support"', "centers[1].role: 'support', but region 'hills' is 'core'"),
    ],
)
def test_centers_must_agree(tmp_path: Path, old: str, new: str, want: str) -> None:
    assert len(load(write(tmp_path, SMALL + CENTER_2)).centers) == 2
    with pytest.raises(ScenarioError) as caught:
        load(write(tmp_path, SMALL + CENTER_2.replace(old, new)))
    assert want in str(caught.value)


def test_a_node_type_that_no_center_has_may_be_assumed_too(tmp_path: Path) -> None:
    text = SMALL.replace("{ plain = 2, big = 3 }", "{ plain = 2 }")
    assert load(write(tmp_path, text)).assumptions["cpu_milli"] == "a guess"


def test_counts_of_tables_are_bounded(tmp_path: Path) -> None:
    many = "".join(CENTER_2.replace("hill-2", f"c{n}") for n in range(1_000))
    with pytest.raises(ScenarioError, match=r"centers: must have 1 to 1,000 entries, not 1,001"):
        load(write(tmp_path, SMALL + many))
    labels = ", ".join(f'l{n} = "x"' for n in range(33))
    with pytest.raises(ScenarioError, match=r"labels: has 33 entries; at most 32 are allowed"):
        load(write(tmp_path, SMALL.replace('pue = "1.2"', labels)))


def test_a_file_too_long_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="longer than 1,048,576 bytes"):
        load(write(tmp_path, SMALL + "#" * (1 << 20)))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ScenarioError, match="is not UTF-8"):
        load(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ScenarioError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_the_packaged_scenario_goes_before_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "scenarios" / "jing-jin-ji.toml"
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)
    assert default_path() == Path(__file__).parents[3] / "scenarios" / "jing-jin-ji.toml"
    packaged.parent.mkdir()
    packaged.write_text(SMALL, encoding="utf-8")
    assert default_path() == packaged


def test_a_damaged_installation_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenario_module, "DEFAULT_NAME", "gone.toml")
    with pytest.raises(ScenarioError, match=r"gone\.toml: neither at .* nor at "):
        default_path()
