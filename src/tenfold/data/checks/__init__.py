"""What pixels alone show: images that are doubled, of one color, or odd, and uneven classes."""
