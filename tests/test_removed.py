"""Options of former versions: refused by name, and passed over in old runs where they changed nothing."""

import pytest

from smae_jax import cli
from smae_jax.config import InferConfig, TrainConfig
from smae_jax.config_file import flat, from_dict, load
from smae_jax.removed import HARMLESS, OF_THE_PAST, REMOVED
from smae_jax.run.folder import RunFolder

ASKED = [
    (("--thinning.neighbours", "scan"), "--thinning.neighbours"),
    (("--thinning.neighbours=none",), "--thinning.neighbours"),
    (("--thinning.raster", "8,8"), "--thinning.raster"),
    (("--thinning.partner", "sum"), "--thinning.partner sum"),
    (("--thinning.partner=sum",), "--thinning.partner sum"),
    (("--init-from", "simulated"), "--init-from simulated"),
    (("--init_from", "simulated"), "--init_from simulated"),
]


@pytest.mark.parametrize(("words", "named"), ASKED)
def test_a_command_line_is_told_what_replaces_it(smae, words, named):
    answer = smae("train", "--run", "r", "--data.path", "x.npy", *words)
    assert answer.status == 2
    assert answer.err.startswith(f"smae-jax train: {named}: was removed: ")
    assert answer.err.count("\n") == 1


def test_infer_is_told_too(smae):
    answer = smae("infer", "--run", "r", "--thinnings", "5")
    assert answer.status == 2
    assert answer.err.startswith("smae-jax infer: --thinnings: was removed: ")
    assert "leave it out" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[thinning]\nneighbours = "scan"\n', "thinning.neighbours"),
        ('[thinning]\nneighbours = "auto"\n', "thinning.neighbours"),
        ('[thinning]\nraster = "8,8"\n', "thinning.raster"),
        ('[thinning]\npartner = "sum"\n', "thinning.partner = 'sum'"),
        ('init_from = "simulated"\n', "init_from = 'simulated'"),
        ('init-from = "simulated"\n', "init_from = 'simulated'"),
    ],
)
def test_a_config_file_is_told_what_replaces_it(smae, tmp_path, text, named):
    (tmp_path / "my.toml").write_text(text)
    answer = smae("train", "--config", "my.toml", "--run", "r")
    assert answer.status == 2
    assert f"my.toml: {named}: was removed: " in answer.err
    assert "train it again" not in answer.err
    assert answer.err.count("\n") == 1


def test_a_run_of_ones_own_may_be_named_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "simulated").mkdir()
    (tmp_path / "simulated" / "config.toml").write_text("")
    words = ["--init-from", "simulated"]
    assert cli.parse(TrainConfig, words, program="train").init_from == "simulated"
    assert from_dict({"init_from": "simulated"}, TrainConfig, where="x").init_from == "simulated"


def test_what_is_left_is_taken_as_before():
    asked = ["--thinning.partner", "none", "--init-from", "runs/base"]
    config = cli.parse(TrainConfig, asked, program="train")
    assert (config.thinning.partner, config.init_from) == ("none", "runs/base")
    words = ["--noise2noise.prediction", "sum"]
    assert cli.parse(TrainConfig, words, program="train").noise2noise.prediction == "sum"


@pytest.mark.parametrize("neighbours", ["auto", "none"])
def test_an_old_run_is_read_where_they_changed_nothing(tmp_path, neighbours):
    text = f'init_from = "simulated"\n[thinning]\nvariants = 3\nneighbours = "{neighbours}"\n'
    (tmp_path / "config.toml").write_text(text + 'raster = ""\npartner = "channel"\n')
    config = RunFolder(tmp_path).config()
    assert (config.thinning.variants, config.thinning.partner) == (3, "channel")
    own = ["--run", str(tmp_path), "--resume"]
    assert cli.parse(TrainConfig, own, program="train").thinning.variants == 3


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('neighbours = "scan"', "thinning.neighbours = 'scan'"),
        ('neighbours = "frames"', "thinning.neighbours = 'frames'"),
        ('raster = "8,8"', "thinning.raster = '8,8'"),
        ('partner = "sum"', "thinning.partner = 'sum'"),
    ],
)
def test_an_old_run_whose_network_is_another_is_to_be_trained_again(tmp_path, line, named):
    (tmp_path / "config.toml").write_text(f"[thinning]\n{line}\n")
    with pytest.raises(ValueError, match="train it again") as refused:
        RunFolder(tmp_path).config()
    assert f"{named}: was removed: " in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="was removed"):
        load(tmp_path / "config.toml", TrainConfig)


def test_the_table_names_what_is_gone():
    known = {**flat(TrainConfig()), **flat(InferConfig())}
    for key in REMOVED:
        name, _, value = key.partition(" ")
        assert (name in known) == bool(value)
    assert set(HARMLESS) | set(OF_THE_PAST) <= set(REMOVED)
