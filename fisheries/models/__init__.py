"""Networks: tensors in, named tensors out; torch and timm only."""
