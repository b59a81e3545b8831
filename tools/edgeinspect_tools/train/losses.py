"""What training minimises."""

from __future__ import annotations

from typing import Any

_FOCUS = 1.5
_FALSE_NEGATIVE_WEIGHT = 0.6


def map_loss(targets: Any, weights: Any, logits: Any) -> Any:
    """Focal binary cross-entropy, plus a soft Tversky term per class.

    Focal loss after Lin et al. 2017, gamma 1.5, per defective cell of the batch, so that sound
    cells, which are nearly all, do not drown it. Tversky index after Salehi et al. 2017 with
    0.6 on missed and 0.4 on invented cells: an escape costs most. Classes that the batch does
    not show count by the first term only.

    Args:
        targets: (n, h, w, classes) in [0, 1].
        weights: (n, h, w, 1), 0 for cells that do not count.
        logits: as ``targets``.
    """
    import tensorflow as tf

    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    score = tf.sigmoid(logits)
    error = tf.abs(targets - score)
    focal = tf.reduce_sum(weights * tf.pow(error + 1e-6, _FOCUS) * entropy)
    counted = weights * targets
    present = tf.reduce_sum(counted, axis=(0, 1, 2))
    hit = tf.reduce_sum(counted * score, axis=(0, 1, 2))
    missed = present - hit
    invented = tf.reduce_sum(weights * (1 - targets) * score, axis=(0, 1, 2))
    wrong = _FALSE_NEGATIVE_WEIGHT * missed + (1 - _FALSE_NEGATIVE_WEIGHT) * invented
    tversky = 1 - (hit + 1) / (hit + wrong + 1)
    shown = tf.cast(present > 0, tf.float32)
    overlap = tf.reduce_sum(shown * tversky) / tf.maximum(tf.reduce_sum(shown), 1.0)
    cells = tf.reduce_sum(weights)
    return focal / (tf.reduce_sum(present) + 0.002 * cells + 1.0) + overlap


def bag_loss(bags: Any, logits: Any) -> Any:
    """Cross-entropy of whole pictures of which only the class is known.

    A picture's logit per class is the mean of the highest thousandth of its map (at least four
    cells), close to what the reducer will look at; the map itself is free where the label does
    not say more.

    Args:
        bags: (n, classes + 1): the picture's label per class, and in the last column how much
            the picture counts here.
        logits: (n, h, w, classes).
    """
    import tensorflow as tf

    shape = tf.shape(logits)
    cells = shape[1] * shape[2]
    by_class = tf.transpose(tf.reshape(logits, (shape[0], cells, shape[3])), (0, 2, 1))
    highest = tf.math.top_k(by_class, k=tf.maximum(4, cells // 1000)).values
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=bags[:, :-1], logits=tf.reduce_mean(highest, axis=2)
    )
    counts = bags[:, -1:]
    return tf.reduce_sum(counts * entropy) / tf.maximum(
        tf.reduce_sum(tf.cast(counts > 0, tf.float32)), 1.0
    )
