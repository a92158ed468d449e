"""A server for one model: images in, classes out, over HTTP; and its page."""
