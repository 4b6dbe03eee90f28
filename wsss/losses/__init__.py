"""Terms of losses, as functions of tensors. The objectives put them together."""
