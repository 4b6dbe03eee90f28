"""Settings that once had another name."""

RENAMED = {
    "choose": "erase_class",
    "erasing_full": "erase_saturation",
    "new_factor": "head_lr_mult",
    "power": "poly_power",
    "share": "ramp_fraction",
    "true_masks": "gt_masks",
}
"""Old key -> what it is called now. Old keys are refused, with the new one named. Identities have the old ones, so that
results from before stand."""
FORMER = {new: old for old, new in RENAMED.items()}


def renewed(values: object) -> object:
    """Plain settings from an older manifest, at any depth, under the keys of today."""
    if isinstance(values, dict):
        return {RENAMED.get(key, key): renewed(value) for key, value in values.items()}
    return [renewed(value) for value in values] if isinstance(values, list) else values
