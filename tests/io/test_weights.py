"""Safetensors files."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import pynn
from pynn import io, nn


def read(path):
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def test_any_memory_order_is_stored_in_c_order(tmp_path):
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    state = {
        "c": weight,
        "f": np.asfortranarray(weight),
        "t": weight.T,
        "strided": weight[:, ::2],
        "scalar": weight[1, 2],
    }
    io.save_weights(tmp_path / "weights.safetensors", state)
    found, _ = read(tmp_path / "weights.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == value.shape


def test_a_model_comes_back(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    io.save_weights(tmp_path / "a", model.state_dict())
    io.save_weights(tmp_path / "b", {name: pynn.tensor(value).T.T for name, value in model.state_dict().items()})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    other.load_state_dict(read(tmp_path / "a")[0])
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)


def test_metadata_is_sorted_json(tmp_path):
    io.save_weights(tmp_path / "w", {"w": np.zeros(2)}, {"classes": ["a"], "architecture": {"name": "mlp"}})
    text = read(tmp_path / "w")[1]["pynn"]
    description = {"format_version": 1, "classes": ["a"], "architecture": {"name": "mlp"}}
    assert text == json.dumps(description, sort_keys=True)


def test_loading_returns_what_was_saved(tmp_path):
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(3, np.int64)}
    io.save_weights(tmp_path / "w", state, {"classes": ["a"]})
    found, description = io.load_weights(tmp_path / "w")
    assert description == {"classes": ["a"]}
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value, strict=True)


def test_a_file_of_another_tool_has_no_description(tmp_path):
    save_file({"w": np.zeros(2)}, tmp_path / "w")
    assert io.load_weights(tmp_path / "w")[1] == {}


def test_a_truncated_or_foreign_file_is_a_clear_error(tmp_path):
    io.save_weights(tmp_path / "w", {"w": np.arange(8.0)}, {"classes": ["a"]})
    content = (tmp_path / "w").read_bytes()
    for size in range(len(content)):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(ValueError, match="cut: not a readable safetensors file"):
            io.load_weights(tmp_path / "cut")
    with pytest.raises(FileNotFoundError):
        io.load_weights(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        io.load_weights(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"format_version": "1"}'])
def test_a_foreign_description_is_refused(tmp_path, text):
    save_file({"w": np.zeros(2)}, tmp_path / "w", {"pynn": text})
    with pytest.raises(ValueError, match="not a description that pynn wrote"):
        io.load_weights(tmp_path / "w")


def test_a_newer_format_is_refused(tmp_path):
    save_file({"w": np.zeros(2)}, tmp_path / "w", {"pynn": '{"format_version": 2}'})
    with pytest.raises(ValueError, match="format version 2; this pynn reads up to 1"):
        io.load_weights(tmp_path / "w")


@pytest.mark.parametrize("value", [np.array(["text"]), np.array([None]), np.zeros(2, complex)])
def test_what_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match="save_weights: 'w': expected numbers"):
        io.save_weights(tmp_path / "w", {"w": value})
    assert not list(tmp_path.iterdir())
