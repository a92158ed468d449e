"""Reader for class folders of images, in a directory or an archive; start at `folder`."""
