"""Published checkpoints become runs: parity, frames of any size, and what is refused."""

import pickle
import sys

import h5py
import numpy as np
import pytest
from test_sedcnn import published_state

from smae_jax.commands import import_torch as module
from smae_jax.commands.import_torch import find_state, read_state_dict, write_run
from smae_jax.models import apply_of
from smae_jax.run.build import build_method, build_network
from smae_jax.run.folder import RunFolder
from smae_jax.run.restore import read_parameters


@pytest.fixture(scope="module")
def reference(shared_data):
    with np.load(shared_data / "reference_vectors.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def state(reference):
    shapes = [
        tuple(int(n) for n in text.strip("()").split(",") if n)
        for text in reference["state_shapes"]
    ]
    return published_state(reference["state_names"], shapes)


@pytest.fixture(scope="module")
def imported(state, tmp_path_factory):
    """A run with the published weights. Read only."""
    folder = RunFolder(tmp_path_factory.mktemp("imported") / "run")
    write_run({f"module.{k}": v for k, v in state.items()}, folder, origin="model.ckpt")
    return folder


def assert_published(folder, reference):
    config = folder.config()
    net = build_network(config, build_method(config))
    parameters, _ = read_parameters(folder, "best")
    rate = reference["network_input"].transpose(0, 2, 3, 1)
    source = np.concatenate([rate, np.ones_like(rate)], axis=-1)
    expected = reference["network_output"].transpose(0, 2, 3, 1)
    largest = np.abs(expected).max()
    answer = np.asarray(apply_of(net)(parameters, source))
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5 * largest)


def test_imported_run_answers_as_the_published_program(imported, reference):
    assert_published(imported, reference)


def test_imported_run_keeps_the_published_settings(imported):
    config = imported.config()
    assert (config.model, config.method, config.smae.reference) == ("sedcnn4", "smae", True)
    assert (config.data.scale, config.data.augment, config.smae.rule) == (
        *("frame_max", "flips", "cross"),
    )
    survey = imported.survey()
    assert survey.frame_shape is None
    assert survey.center is None
    assert not (imported.path / "mask.npz").exists()


@pytest.mark.slow
def test_imported_run_denoises_frames_of_any_size(smae, imported, small_scan, tmp_path):
    """The centre is found on the input or given; the mask is the one given, or none."""
    common = ("infer", "--run", imported.path, "--input", f"{small_scan}::counts")
    common += ("--ensemble", "none")
    answer = smae(*common, "--output", "found.h5")
    assert answer.status == 0, answer.err
    assert "found on the input" in answer.out
    assert "no mask but the file's own" in answer.out
    given = ("--center", "17.5,14", "--mask", f"{small_scan}::mask")
    answer = smae(*common, "--output", "given.h5", *given)
    assert answer.status == 0, answer.err
    assert "centre y 17.5, x 14 (given)" in answer.out
    with h5py.File("given.h5") as file, np.load(small_scan) as scan:
        denoised, filled = file["entry/data/data"][()], file["entry/data/filled"][()] > 0
        counts, bad = scan["counts"], scan["mask"]
    assert denoised.shape == counts.shape
    filled = np.broadcast_to(filled, counts.shape)  # one for all frames where they agree
    assert filled[:, bad].any()
    assert not filled[:, ~bad].any()
    total = counts[:, ~bad].sum(axis=1)
    np.testing.assert_allclose(np.nansum(denoised[:, ~bad], axis=1), total, rtol=2e-2)


def test_another_detector_needs_its_centre_said(smae, trained_run, tmp_path):
    np.save("frames.npy", np.random.default_rng(0).poisson(3.0, (2, 20, 26)))
    common = ("infer", "--run", trained_run, "--input", "frames.npy", "--output", "out.npy")
    answer = smae(*common)
    assert answer.status == 2
    assert "--center auto" in answer.err
    answer = smae(*common, "--center", "9,12.5")
    assert answer.status == 0, answer.err
    assert np.isfinite(np.load("out.npy")).all()


def test_centre_that_is_none_is_refused(smae):
    answer = smae("infer", "--center", "middle")
    assert answer.status == 2
    assert "--center" in answer.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("out1.bias"), "out1.bias"),
        (
            lambda s: s.update({"conv0.weight": np.zeros((16, 2, 3, 3), np.float32)}),
            "one channel in",
        ),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_is_written(
    state, tmp_path, change, message
):
    wrong = dict(state)
    change(wrong)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match=message) as caught:
        write_run(wrong, folder, origin="model.ckpt")
    assert str(caught.value).startswith("model.ckpt: ")
    assert not folder.path.exists()


def is_array(value):
    return isinstance(value, np.ndarray)


@pytest.mark.parametrize("keys", [(), ("state_dict",), ("model_state_dict",), ("model",), ("net",)])
def test_weights_are_found_where_programs_put_them(keys):
    held = weights = {"conv0.weight": np.ones(3)}
    for key in keys:
        held = {"epoch": 260, key: held, "optimizer": {"lr": 1e-3}}
    assert find_state(held, is_array, "model.ckpt") == weights


@pytest.mark.parametrize(
    ("held", "got"),
    [
        ([1, 2], "list"),
        ({}, "keys"),
        ({"epoch": 3}, "keys epoch"),
        ({"model": {"a": np.ones(2), "lr": 0.1}}, "keys a, lr"),
        ({"state_dict": {3: np.ones(2)}}, "keys 3"),
    ],
)
def test_a_file_without_weights_is_refused(held, got):
    with pytest.raises(ValueError, match=f"got {got}") as caught:
        find_state(held, is_array, "model.ckpt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected a PyTorch checkpoint"),
        (("model.ckpt",), "--run"),
        (("nowhere.ckpt", "--run", "run"), "no such file"),
        (("model.ckpt", "--run", "taken"), "--overwrite"),
    ],
)
def test_command_says_what_is_missing(smae, tmp_path, arguments, message):
    (tmp_path / "model.ckpt").write_bytes(b"not a checkpoint")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.toml").write_text("")
    answer = smae("import-torch", *arguments)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_without_pytorch_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "model.ckpt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"pip install 'smae_jax\[torch\]'"):
        read_state_dict(str(tmp_path / "model.ckpt"))


def test_pytorch_is_imported_in_one_function_only():
    assert "torch" not in vars(module)


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_checkpoint_written_by_pytorch(smae, state, reference, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional extra")
    tensors = {f"module.{name}": torch.from_numpy(value) for name, value in state.items()}
    torch.save({"epoch": 260, "model_state_dict": tensors}, "model.ckpt")
    answer = smae("import-torch", "model.ckpt", "--run", "run")
    assert answer.status == 0, answer.err
    assert "2,275,593 parameters" in answer.out
    assert_published(RunFolder(tmp_path / "run"), reference)

    (tmp_path / "trap.ckpt").write_bytes(pickle.dumps({"model": Trap()}))
    torch.save(torch.nn.Linear(2, 2), "whole.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("trap", "whole", "text"):
        answer = smae("import-torch", f"{name}.ckpt", "--run", name)
        assert answer.status == 2
        assert answer.err.startswith(f"smae-jax import-torch: {name}.ckpt: ")
        assert answer.err.count("\n") == 1
        assert not (tmp_path / name).exists()
