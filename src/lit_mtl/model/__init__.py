"""The network in plain torch: backbone, pooling, sentence encoder, heads."""
