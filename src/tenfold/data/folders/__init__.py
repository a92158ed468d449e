"""Class folders and archives of images: members, layout, images, decoding, cache."""
