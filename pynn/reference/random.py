"""Philox4x32-10 and the numbers made from it, element by element as the kernels number them.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

import numpy as np

_LOWER = np.uint64(0xFFFFFFFF)


def philox(seed, stream, counters):
    """The four words of each 128-bit counter (counter, stream) under the key `seed`: shape (4, n), uint32."""
    counters = np.asarray(counters, np.uint64)
    streams = np.full_like(counters, stream)
    c = [counters & _LOWER, counters >> np.uint64(32), streams & _LOWER, streams >> np.uint64(32)]
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        product0, product1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (product1 >> np.uint64(32)) ^ c[1] ^ np.uint64(key[0]),
            product1 & _LOWER,
            (product0 >> np.uint64(32)) ^ c[3] ^ np.uint64(key[1]),
            product0 & _LOWER,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.array(c, np.uint32)


def blocks(seed, stream, block, count):
    """Words of `count` blocks: shape (count, 4, 16)."""
    counters = np.arange(block * 16, (block + count) * 16, dtype=np.uint64)
    return philox(seed, stream, counters).reshape(4, count, 16).transpose(1, 0, 2)


def words(seed, stream, block, n):
    """n random words of 32 bits, from the block's first."""
    return blocks(seed, stream, block, -(-n // 64)).reshape(-1)[:n]


def longs(seed, stream, block, n):
    """n random words of 64 bits."""
    w = blocks(seed, stream, block, -(-n // 32)).astype(np.uint64)
    return (w[:, 0::2] << np.uint64(32) | w[:, 1::2]).reshape(-1)[:n]


def uniform(seed, stream, block, n, low=0.0, high=1.0, dtype=np.float32):
    """[low, high): low + (high - low) * u, u of 24 bits (float64: 53), rounded after each operation."""
    if dtype == np.float32:
        u = (words(seed, stream, block, n) >> np.uint32(8)).astype(dtype) * dtype(2.0**-24)
    else:
        u = (longs(seed, stream, block, n) >> np.uint64(11)).astype(dtype) * 2.0**-53
    low, high = dtype(low), dtype(high)
    return np.minimum(u * (high - low) + low, np.nextafter(high, low))


def normal(seed, stream, block, n, mean=0.0, std=1.0):
    """Box and Muller (1958): radius from one word, as a float32 on [2^-32, 1], angle from the next."""
    w = blocks(seed, stream, block, -(-n // 64))
    u = (w[:, 0::2] >> np.uint32(1)).astype(np.float32) * np.float32(2.0**-31) + np.float32(2.0**-32)
    radius, angle = np.sqrt(-2 * np.log(u.astype(np.float64))), 2 * np.pi * 2.0**-32 * w[:, 1::2]
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2)
    return mean + std * z.reshape(-1)[:n]


def integers(seed, stream, block, n, low, high):
    """low + the upper half of word * (high - low)."""
    return np.array([low + (int(w) * (high - low) >> 64) for w in longs(seed, stream, block, n)], np.int64)


def permutation(seed, stream, block, n):
    """Fisher and Yates: the last of what is left changes places with a random one of it."""
    order = np.arange(n)
    for i, w in enumerate(longs(seed, stream, block, n)):
        last = n - 1 - i
        chosen = int(w) * (last + 1) >> 64
        order[chosen], order[last] = order[last], order[chosen]
    return order
