"""Nested state in one file: everything comes back as it was, nothing else is taken for a checkpoint."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

import pynn
from pynn import io


def same(a, b):
    assert type(a) is type(b), (a, b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        return all(same(x, y) for pair in zip(a.items(), b.items(), strict=True) for x, y in zip(*pair, strict=True))
    if isinstance(a, list | tuple):
        assert len(a) == len(b)
        return all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(a, b, strict=True)
        return True
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


STATE = {
    "z": 1,
    "a": {0: {"m": np.arange(6, dtype=np.float32).reshape(2, 3).T, "n": np.array(3)}, 1: {}},
    "rng": (2**64 - 1, -5, 0),
    "numbers": [0.1, -0.0, math.nan, math.inf, -math.inf, True, False, None, "", "ü", 2**70],
    "scalars": [np.float32(0.1), np.float64("nan"), np.int64(3), np.uint8(7), np.bool_(True)],
    "a/b": np.zeros(0),
    "dict": {"dict": [], "array": "model"},
    "empty": [{}, [], ()],
    1.5: {"b": np.ones((2, 0, 3), np.int64)},
}


def test_everything_comes_back(tmp_path):
    io.save_checkpoint(tmp_path / "c", STATE)
    assert same(io.load_checkpoint(tmp_path / "c"), STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_names_of_arrays_may_collide(tmp_path):
    state = {"a/b": np.array(1), "a": {"b": np.array(2), "b'": np.array(3)}}
    io.save_checkpoint(tmp_path / "c", state)
    assert same(io.load_checkpoint(tmp_path / "c"), state)


def test_weights_are_tensors_of_the_file(tmp_path):
    io.save_checkpoint(tmp_path / "c", {"model": {"0.weight": pynn.ones(2, 3).T}})
    arrays, _ = io.load_weights(tmp_path / "c")
    np.testing.assert_array_equal(arrays["model/0.weight"], np.ones((3, 2), np.float32), strict=True)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", 1j, np.array(["text"])])
def test_what_cannot_be_saved_leaves_the_file_alone(value, tmp_path):
    io.save_checkpoint(tmp_path / "c", {"x": 1})
    with pytest.raises((TypeError, ValueError), match="'a/b/0'"):
        io.save_checkpoint(tmp_path / "c", {"a": {"b": [value]}})
    assert io.load_checkpoint(tmp_path / "c") == {"x": 1}


def test_a_truncated_file_is_an_error(tmp_path):
    io.save_checkpoint(tmp_path / "c", STATE)
    content = (tmp_path / "c").read_bytes()
    for size in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:size])
        with pytest.raises(ValueError, match="cut: not a readable safetensors file"):
            io.load_checkpoint(tmp_path / "cut")


def test_no_changed_byte_does_harm(tmp_path):
    """Another value or a ValueError; never another exception."""
    io.save_checkpoint(tmp_path / "c", STATE)
    content = (tmp_path / "c").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 500):
        changed = bytearray(content)
        changed[place] ^= 1 << rng.integers(8)
        (tmp_path / "changed").write_bytes(changed)
        try:
            assert isinstance(io.load_checkpoint(tmp_path / "changed"), dict)
        except ValueError as error:
            assert "changed: " in str(error)


HOSTILE = {
    "nothing": None,
    "a number": 3,
    "a list": [],
    "no kind": {},
    "two kinds": {"dict": [], "tuple": []},
    "unknown kind": {"pickle": "cos\nsystem"},
    "a missing array": {"dict": [["w", {"array": "v"}]]},
    "an array with a list as name": {"dict": [["w", {"array": []}]]},
    "pairs of three": {"dict": [[1, 2, 3]]},
    "a list as key": {"dict": [[[], 1]]},
    "an object as dtype": {"dict": [["w", {"number": ["object", "x"]}]]},
    "no dtype": {"dict": [["w", {"number": ["os.system", 1]}]]},
    "a number too large": {"dict": [["w", {"number": ["int8", 1000]}]]},
    "text as number": {"dict": [["w", {"float": "one"}]]},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_pynn_did_not_write_is_refused(kind, tmp_path):
    text = json.dumps({"format_version": 1, "checkpoint": HOSTILE[kind]})
    save_file({"w": np.zeros(2)}, tmp_path / "c", {"pynn": text})
    with pytest.raises(ValueError, match="c: not a checkpoint that pynn wrote"):
        io.load_checkpoint(tmp_path / "c")


def test_too_deep_is_refused(tmp_path):
    for depth in (900, 100_000):
        text = '{"format_version": 1, "checkpoint": ' + "[" * depth + "]" * depth + "}"
        save_file({"w": np.zeros(2)}, tmp_path / "c", {"pynn": text})
        with pytest.raises(ValueError, match="that pynn wrote"):
            io.load_checkpoint(tmp_path / "c")


def test_a_model_is_no_checkpoint(tmp_path):
    io.save_weights(tmp_path / "w", {"w": np.zeros(2)})
    with pytest.raises(ValueError, match="w: not a checkpoint that pynn wrote"):
        io.load_checkpoint(tmp_path / "w")
    with pytest.raises(FileNotFoundError):
        io.load_checkpoint(tmp_path / "none")
