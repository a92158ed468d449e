"""From files to tensors: readers, the catalogue, the in-memory data set, augmentation, loading."""
