"""Pooling of images, window by window."""

import numpy as np


def _axis(size, kernel, stride, padding, dilation, ceil_mode):
    """Of one axis: the elements of every window, and its size with the padding."""
    reach = dilation * (kernel - 1) + 1
    windows = (size + 2 * padding - reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    for start in range(-padding, windows * stride - padding, stride):
        if start < size:  # the last window of ceil_mode may not start in the padding
            taps = [t for t in range(start, start + reach, dilation) if 0 <= t < size]
            yield taps, min(start + kernel, size + padding) - start


def _adaptive(size, out):
    for i in range(out):
        taps = list(range(i * size // out, -(-(i + 1) * size // out)))
        yield taps, len(taps)


def _pool(x, rows, columns, reduce):
    """reduce(patch (N, C, KH, KW), its elements with padding) of every window."""
    rows, columns = list(rows), list(columns)
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    for i, (down, height) in enumerate(rows):
        for j, (across, width) in enumerate(columns):
            y[:, :, i, j] = reduce(x[:, :, down][:, :, :, across], height * width)
    return y


def _largest(patch, count):
    return patch.max((2, 3))


def _both(x, kernel_size, stride, padding, dilation, ceil_mode):
    def pair(v):
        return v if isinstance(v, tuple) else (v, v)

    arguments = [pair(a) for a in (kernel_size, stride or kernel_size, padding, dilation)]
    return [_axis(x.shape[2 + i], *(a[i] for a in arguments), ceil_mode) for i in (0, 1)]


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    return _pool(x, *_both(x, kernel_size, stride, padding, dilation, ceil_mode), _largest)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    def mean(patch, count):
        inside = count if count_include_pad else patch.shape[2] * patch.shape[3]
        return patch.sum((2, 3)) / (divisor_override or inside)

    return _pool(x, *_both(x, kernel_size, stride, padding, 1, ceil_mode), mean)


def adaptive_max_pool2d(x, output_size):
    return _pool(x, *(_adaptive(x.shape[2 + i], output_size[i]) for i in (0, 1)), _largest)


def adaptive_avg_pool2d(x, output_size):
    return _pool(x, *(_adaptive(x.shape[2 + i], output_size[i]) for i in (0, 1)), lambda patch, _: patch.mean((2, 3)))


def max_unpool2d(x, indices, size):
    """x at `indices` of images of `size`, zeros elsewhere."""
    y = np.zeros((*x.shape[:2], size[0] * size[1]), x.dtype)
    np.put_along_axis(y, indices.reshape(*x.shape[:2], -1), x.reshape(*x.shape[:2], -1), 2)
    return y.reshape(*x.shape[:2], *size)
