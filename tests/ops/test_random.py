import copy
import math
import pickle
import threading

import numpy as np
import pytest

import pynn
from opcase import THREADS, all_threads, isa, same_bits
from pynn import _core, random
from pynn.random import Generator
from pynn.reference import random as reference

COUNTS = (0, 1, 15, 16, 17, 63, 64, 65, 128, 1000)
STATES = ((0, 0, 0), (1234567, 0, 5), (2**64 - 1, 2**63 + 7, 2**31), (42, 3, 2**60 - 1))

each_isa = pytest.mark.parametrize("isa_name", _core.supported_isas())


def test_known_answers():
    # Random123, kat_vectors: philox4x32 10 rounds
    assert [hex(w) for w in reference.philox(0, 0, [0])[:, 0]] == [
        "0x6627e8d5",
        "0xe169c58d",
        "0xbc57ac4c",
        "0x9b00dbd8",
    ]
    ones = 2**64 - 1
    assert [hex(w) for w in reference.philox(ones, ones, [ones])[:, 0]] == [
        "0x408f276d",
        "0x41c83b0e",
        "0xa20bc7c6",
        "0x6d5451fd",
    ]


@each_isa
def test_every_bit_of_the_words(isa_name):
    with isa(isa_name):
        # range 2^64 - 1 gives the word less one, or less nothing where it is 0
        for state in STATES:
            low, high = -(2**63), 2**63 - 1
            got = random.randint(low, high, (100,), generator=Generator(*state)).numpy()
            assert same_bits(got, reference.integers(*state, 100, low, high))


@each_isa
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_is_exact(isa_name, dtype):
    with isa(isa_name):
        for n in COUNTS:
            for state in STATES:
                got = random.rand(n, dtype=dtype, generator=Generator(*state)).numpy()
                assert same_bits(got, reference.uniform(*state, n, dtype=np.dtype(dtype).type))
        got = random.uniform_(pynn.empty(1000, dtype=dtype), -0.3, 0.7, generator=Generator(7)).numpy()
        assert same_bits(got, reference.uniform(7, 0, 0, 1000, -0.3, 0.7, np.dtype(dtype).type))


@each_isa
def test_integers_and_permutations_are_exact(isa_name):
    with isa(isa_name):
        for n in COUNTS:
            for low, high in ((0, 1), (0, 10), (-5, 2**40), (-(2**63), 2**62)):
                got = random.randint(low, high, (n,), generator=Generator(3, 1, 9)).numpy()
                assert same_bits(got, reference.integers(3, 1, 9, n, low, high))
            got = random.randperm(n, generator=Generator(3, 1, 9)).numpy()
            assert same_bits(got, reference.permutation(3, 1, 9, n))


@each_isa
def test_normal_against_the_formula(isa_name):
    with isa(isa_name):
        for state in STATES:
            got = random.randn(100_000, generator=Generator(*state)).numpy()
            # log within 1 ulp, sine and cosine within 1e-7, the radius at most 6.7
            assert np.max(np.abs(got - reference.normal(*state, 100_000))) <= 2e-6
        moved = random.normal_(pynn.empty(1000), 5.0, 0.25, generator=Generator(1)).numpy()
        assert np.max(np.abs(moved - reference.normal(1, 0, 0, 1000, 5.0, 0.25))) <= 2e-6


def drawn(dtype="float32", n=5000):
    g = Generator(11, 2)
    return [
        random.rand(n, dtype=dtype, generator=g).numpy(),
        random.randn(n, dtype=dtype, generator=g).numpy(),
        random.trunc_normal_(pynn.empty(n, dtype=dtype), generator=g).numpy(),
        random.bernoulli_(pynn.empty(n, dtype=dtype), 0.3, generator=g).numpy(),
        random.randint(0, 1000, (n,), generator=g).numpy(),
        random.randperm(n, generator=g).numpy(),
        np.array(g.get_state()),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_at_any_thread_count_and_vector_width(dtype):
    expected = drawn(dtype)
    for threads in THREADS:
        with all_threads(threads):
            assert all(map(same_bits, drawn(dtype), expected))
    results = []
    for name in {"avx2", "avx512"} & set(_core.supported_isas()):
        with isa(name):
            results.append(drawn(dtype))
    for result in results:
        assert all(map(same_bits, result, results[0]))


def test_the_memory_order_does_not_matter():
    for dtype in ("float32", "float64"):
        plain = random.randn(30, 20, dtype=dtype, generator=Generator(5)).numpy()
        turned = pynn.empty(20, 30, dtype=dtype).T
        assert same_bits(np.ascontiguousarray(random.normal_(turned, generator=Generator(5)).numpy()), plain)


def distance(sample, distribution):
    """Kolmogorov and Smirnov's: the largest distance of the sample's distribution function from the true one."""
    x = np.sort(sample.astype(np.float64))
    f = np.array([distribution(v) for v in x])
    steps = np.arange(len(x) + 1) / len(x)
    return max(np.max(steps[1:] - f), np.max(f - steps[:-1]))


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(dtype):
    n, g = 100_000, Generator(2024)
    limit = 1.95 / math.sqrt(n)  # exceeded with probability 0.001; the draws are fixed
    u = random.rand(n, dtype=dtype, generator=g).numpy()
    assert distance(u, lambda x: x) <= limit
    assert 0 <= u.min() and u.max() < 1
    z = random.randn(n, dtype=dtype, generator=g).numpy()
    assert distance(z, normal_cdf) <= limit
    assert abs(z.mean()) <= 4 / math.sqrt(n)
    assert abs(z.var() - 1) <= 4 * math.sqrt(2 / n)
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) <= 4 / math.sqrt(n)
    pairs = z[: n // 64 * 64].reshape(-1, 2, 2, 16)  # cosine and sine of one angle
    assert abs(np.corrcoef(pairs[:, :, 0].ravel(), pairs[:, :, 1].ravel())[0, 1]) <= 4 / math.sqrt(n / 2)
    for mean, std, a, b in ((0, 1, -2, 2), (1, 0.5, 0.5, 3), (0, 1, 1, 1.5)):
        t = random.trunc_normal_(pynn.empty(n, dtype=dtype), mean, std, a, b, generator=g).numpy()
        low, high = normal_cdf((a - mean) / std), normal_cdf((b - mean) / std)
        assert distance(t, lambda x: (normal_cdf((x - mean) / std) - low) / (high - low)) <= limit  # noqa: B023
        assert a <= t.min() and t.max() <= b
    for p in (0.0, 0.3, 1.0):
        ones = random.bernoulli_(pynn.empty(n, dtype=dtype), p, generator=g).numpy()
        assert set(np.unique(ones)) <= {0, 1}
        assert abs(ones.mean() - p) <= 4 * math.sqrt(p * (1 - p) / n)


def test_integers_are_uniform():
    n, sides = 60_000, 6
    counts = np.bincount(random.randint(sides, (n,), generator=Generator(1)).numpy() + 0, minlength=sides)
    assert counts.sum() == n
    assert ((counts - n / sides) ** 2 / (n / sides)).sum() <= 20.5  # chi square, 5 degrees of freedom, 0.001


def test_permutations_are_uniform():
    g, counts = Generator(4), {}
    for _ in range(6000):
        order = tuple(random.randperm(3, generator=g).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert sum((c - 1000) ** 2 / 1000 for c in counts.values()) <= 20.5
    assert np.array_equal(np.sort(random.randperm(100_003, generator=g).numpy()), np.arange(100_003))


def test_uniform_stays_below_high():
    # every second float near 1e7 rounds the sum up
    x = random.uniform_(pynn.empty(10_000), 1e7, 1e7 + 2, generator=Generator(0)).numpy()
    assert x.min() >= 1e7 and x.max() < 1e7 + 2
    assert np.all(random.uniform_(pynn.empty(10), 3.0, 3.0).numpy() == 3)


def test_extreme_truncation():
    t = random.trunc_normal_(pynn.empty(1000), 0.0, 1.0, 20.0, 21.0).numpy()
    assert np.all((t >= 20) & (t <= 21))


def test_generators():
    g = Generator(9)
    a = random.rand(10, generator=g).numpy().copy()
    state = g.get_state()
    assert state == (9, 0, 1)
    b = random.rand(100, generator=g).numpy().copy()
    assert g.offset == 3
    g.set_state(state)
    assert same_bits(random.rand(100, generator=g).numpy(), b)
    assert same_bits(random.rand(10, generator=g.manual_seed(9)).numpy(), a)
    assert g.initial_seed() == 9
    for clone in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert clone.get_state() == g.get_state()
        assert same_bits(
            random.rand(5, generator=clone).numpy(), random.rand(5, generator=Generator(*g.get_state())).numpy()
        )
        assert clone.get_state() != g.get_state()
    assert not same_bits(
        random.rand(50, generator=Generator(9, 1)).numpy(), random.rand(50, generator=Generator(9)).numpy()
    )
    assert Generator(-1).initial_seed() == 2**64 - 1
    assert repr(Generator(1, 2, 3)) == "Generator(seed=1, stream=2, offset=3)"
    for wrong in ((1, 2), (2**64, 0, 0), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match="64 bits"):
            g.set_state(wrong)


def test_the_default_generator():
    before = random.default_generator.get_state()
    try:
        pynn.manual_seed(3)
        a = pynn.rand(4, 5).numpy().copy()
        assert random.initial_seed() == 3
        assert same_bits(a, random.rand(4, 5, generator=Generator(3)).numpy())
    finally:
        random.default_generator.set_state(before)


def test_threads_never_share_numbers():
    g, results = Generator(8), []

    def work():
        for _ in range(50):
            results.append(random.rand(100_000 if len(results) % 10 == 0 else 64, generator=g).numpy()[:64].tobytes())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(results)) == len(results) == 200


def test_in_place_bumps_the_version_and_asks_for_no_grad():
    w = pynn.zeros(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="no_grad"):
        random.normal_(w)
    version = w._array.version
    with pynn.no_grad():
        random.normal_(w)
    assert w._array.version > version


def test_bad_arguments():
    x = pynn.empty(3)
    for call, match in (
        (lambda: random.uniform_(x, 1.0, 0.0), "uniform: expected low <= high"),
        (lambda: random.uniform_(x, 0.0, math.inf), "uniform: expected low <= high"),
        (lambda: random.uniform_(x, -2e38, 2e38), "uniform: expected low <= high and a finite range"),
        (lambda: random.normal_(x, 0.0, -1.0), "normal: expected a finite mean and std >= 0"),
        (lambda: random.normal_(x, math.nan), "normal: expected a finite mean"),
        (lambda: random.trunc_normal_(x, a=2.0, b=1.0), "trunc_normal: expected std > 0 and a <= b"),
        (lambda: random.bernoulli_(x, 1.5), r"bernoulli: expected a probability in \[0, 1\]"),
        (lambda: random.randint(3, 3, (2,)), "randint: expected low < high, got 3 and 3"),
        (lambda: random.randperm(-1), "randperm: expected n >= 0, got -1"),
        (lambda: random.uniform_(pynn.empty(1).expand(4)), "expanded view"),
    ):
        with pytest.raises(ValueError, match=match):
            call()
    with pytest.raises(TypeError, match="float32 or float64"):
        random.normal_(pynn.empty(3, dtype="int64"))
    with pytest.raises(TypeError, match="randint: expected a tuple as size, got 3"):
        random.randint(0, 5, 3)
    for seed in ("a", 1.5, None):
        with pytest.raises(TypeError, match="Generator: expected integers"):
            pynn.manual_seed(seed)


def test_each_replay_draws_new_numbers():
    recorded, eager = Generator(6), Generator(6)
    program = _core.Program()
    program.begin()
    results = [random.rand(100, generator=recorded)._array, random.randperm(9, generator=recorded)._array]
    program.finish(results)
    for n in range(3):
        if n:
            results = program.replay([])
        expected = random.rand(100, generator=eager), random.randperm(9, generator=eager)
        assert all(same_bits(np.asarray(r), e.numpy()) for r, e in zip(results, expected, strict=True))
    assert recorded.get_state() == eager.get_state()
