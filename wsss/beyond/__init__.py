"""What explanations are good for beyond being looked at, and whether they can be trusted at all. Pure: tensors and
networks in, tensors and figures out."""
