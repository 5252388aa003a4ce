"""RasterML in the Processing framework: the provider, its algorithms and what they share."""
