"""The structures of the C interface, field by field as in source/interface.h."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_int64, c_uint8, c_uint64

Pair = c_int32 * 2


class LayerRecord(Structure):
    """`TenfoldLayer`."""

    _fields_ = (
        ("operation", c_int32),
        ("input", c_int32),
        ("other", c_int32),
        ("outputs", c_int32),
        ("kernel", Pair),
        ("stride", Pair),
        ("padding", Pair),
        ("transposed", c_int32),
        ("weight", c_int32),
        ("bias", c_int32),
        ("running_mean", c_int32),
        ("running_var", c_int32),
        ("p", c_double),
        ("eps", c_double),
        ("momentum", c_double),
    )


class TensorRecord(Structure):
    """`TenfoldTensor`."""

    _fields_ = (
        ("value", POINTER(c_float)),
        ("moment1", POINTER(c_float)),
        ("moment2", POINTER(c_float)),
        ("average", POINTER(c_float)),
        ("size", c_int64),
        ("trained", c_int32),
    )


class StepSettingsRecord(Structure):
    """`TenfoldStepSettings`."""

    _fields_ = (
        ("optimizer", c_int32),
        ("nesterov", c_int32),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("beta1", c_double),
        ("beta2", c_double),
        ("epsilon", c_double),
        ("label_smoothing", c_double),
        ("clip_norm", c_double),
        ("average_decay", c_double),
        ("class_weights", POINTER(c_float)),
    )


class ImagesRecord(Structure):
    """`TenfoldImages`."""

    _fields_ = (
        ("pixels", POINTER(c_uint8)),
        ("labels", POINTER(c_int64)),
        ("count", c_int64),
        ("mean", POINTER(c_float)),
        ("deviation", POINTER(c_float)),
        ("by_image", c_int32),
    )


class AugmentationRecord(Structure):
    """`TenfoldAugmentation`; `TenfoldChanges` is a row of integers."""

    _fields_ = (
        ("changes", POINTER(c_int64)),
        ("warps", c_int32),
        ("recolors", c_int32),
        ("crop_padding", c_int32),
        ("cutout", c_int32),
    )


class StretchRecord(Structure):
    """`TenfoldStretch`."""

    _fields_ = (
        ("order", POINTER(c_int64)),
        ("images", c_int64),
        ("learning_rates", POINTER(c_double)),
        ("batches", c_int64),
        ("step", c_int64),
        ("optimizer_step", c_int64),
        ("dropout_seed", c_uint64),
        ("threads", c_int32),
        ("losses", POINTER(c_float)),
        ("correct", POINTER(c_int64)),
        ("largest_gradients", POINTER(c_float)),
    )


def declare(library: ctypes.CDLL) -> None:
    """Declare the argument and result types of a library's functions to ctypes."""
    network = ctypes.c_void_p
    library.tenfold_runs_here.restype = c_int32
    library.tenfold_runs_here.argtypes = []
    library.tenfold_source_digest.restype = ctypes.c_char_p
    library.tenfold_source_digest.argtypes = []
    library.tenfold_network_new.restype = network
    library.tenfold_network_new.argtypes = [
        POINTER(LayerRecord),
        c_int32,
        POINTER(c_int32),
        c_int64,
        c_int32,
        c_int32,
    ]
    library.tenfold_network_free.restype = None
    library.tenfold_network_free.argtypes = [network]
    library.tenfold_train.restype = c_int32
    library.tenfold_train.argtypes = [
        network,
        POINTER(TensorRecord),
        c_int32,
        POINTER(ImagesRecord),
        POINTER(StepSettingsRecord),
        POINTER(AugmentationRecord),
        POINTER(StretchRecord),
    ]
    library.tenfold_predict.restype = c_int32
    library.tenfold_predict.argtypes = [
        network,
        POINTER(TensorRecord),
        c_int32,
        POINTER(ImagesRecord),
        c_int32,
        POINTER(c_float),
    ]
